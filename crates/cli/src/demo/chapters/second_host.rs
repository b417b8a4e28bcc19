//! Chapter 5: another host, over TCP, with third-party programs: it sees nothing, then one LUN, then nothing again.

use super::{
    super::{
        found,
        process::{run, until},
        reader::{Login, SECOND, login_refused, luns_seen},
        record::{Head, Recorder, Step},
        scene::{Scene, field, text},
        trouble::{Told, Trouble, demand, doing},
    },
    Lun, breaking,
};
use std::time::Duration;

/// Longest time for the kernel to let go of an unmounted device.
const QUIET: Duration = Duration::from_secs(10);

const BLIND: Head = Head {
    name: "second_host_sees_nothing",
    shows: "A second host becomes known. It logs in over TCP with CHAP, through libiscsi's iscsi-ls.",
    check: "it sees no LUN; with a wrong secret it is not even let in",
};
const READS: Head = Head {
    name: "second_host_reads",
    shows: "One broken LUN is unmasked to it, and it reads the whole of it without a line of Umbra's code.",
    check: "it sees exactly this LUN, and reads what this host reads; masked again, it sees nothing",
};

pub async fn tell(scene: &Scene, recorder: &Recorder, clones: &[Lun]) -> Told<()> {
    let (login, portal) = recorder.step(BLIND, async |step| blind(scene, step).await).await?;
    recorder.step(READS, async |step| reads(scene, step, &login, &portal, clones).await).await
}

async fn blind(scene: &Scene, step: &mut Step) -> Told<(Login, String)> {
    let (name, initiator) = SECOND;
    scene.umbra(step, &["host", "add", name, "--initiator", initiator]).await?;
    let secret = scene.umbra(step, &["host", "secret", name]).await?;
    let status = scene.umbra(step, &["pool", "status"]).await?;
    let portal = field(&status, "/portals/0")?.to_owned();
    let (user, secret) = (field(&secret, "/user")?.to_owned(), field(&secret, "/secret")?.to_owned());
    let login = Login { initiator: initiator.to_owned(), user, secret };
    let seen = luns_seen(scene, &login, &portal).await?;
    step.fact("portal", portal.clone());
    step.fact("luns_seen", seen.len());
    demand(seen.is_empty(), || format!("it sees {seen:?}"))?;
    let wrong = Login {
        initiator: login.initiator.clone(),
        user: login.user.clone(),
        secret: "wrong-secret-0".into(),
    };
    demand(login_refused(scene, &wrong, &portal).await?, || "a wrong secret was taken".to_owned())?;
    Ok((login, portal))
}

async fn reads(scene: &Scene, step: &mut Step, login: &Login, portal: &str, clones: &[Lun]) -> Told<()> {
    let lun = clones.first().ok_or_else(|| Trouble::new("there is no broken LUN"))?;
    // Quiet while two hosts look at it: a mounted file system belongs to one host.
    scene.umbra(step, &["lun", "unmount", text(&scene.clone_of(lun.volume))]).await?;
    let device = lun.device.as_str();
    until("the device is quiet", QUIET, None, async || found::is_quiet(device)).await?;
    let unmasked = scene.umbra(step, &["lun", "unmask", &lun.id, "--to", SECOND.0]).await?;
    let seen = luns_seen(scene, login, portal).await?;
    step.fact("luns_seen", seen.clone());
    demand(seen.len() == 1, || format!("it sees {seen:?} instead of one LUN"))?;
    let url = url_for(&unmasked, SECOND.0)?;
    step.fact("url", url.clone());
    let file = scene.path("second-host.img");
    scene.tools.reader.read(scene, login, &url, &file).await?;
    step.fact("read_by", scene.tools.reader.describe());
    step.fact("bytes_compared", doing("look at what was read", std::fs::metadata(&file))?.len());
    let compared = run(scene.command("cmp").arg(&lun.device).arg(&file)).await?;
    doing("remove what was read", std::fs::remove_file(&file))?;
    demand(compared.code == Some(0), || {
        format!("the second host reads something else: {}", compared.trouble())
    })?;
    scene.umbra(step, &["lun", "mask", &lun.id, "--from", SECOND.0]).await?;
    let seen = luns_seen(scene, login, portal).await?;
    demand(seen.is_empty(), || format!("masked, it still sees {seen:?}"))?;
    let clone = Lun { id: lun.id.clone(), volume: lun.volume, device: lun.device.clone() };
    breaking::attach_and_mount(scene, step, clone).await.map(drop)
}

/// The URL under which a host finds a LUN.
fn url_for(unmasked: &serde_json::Value, host: &str) -> Told<String> {
    let all = super::super::scene::list(unmasked, "/lun/presentations")?;
    let mine = all.iter().find(|seen| seen["host"] == host);
    let mine =
        mine.ok_or_else(|| Trouble::new(format!("{host} is not among those that see it: {unmasked}")))?;
    Ok(field(mine, "/urls/0")?.to_owned())
}
