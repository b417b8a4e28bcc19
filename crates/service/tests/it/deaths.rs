//! Deaths: the service is killed, or its array is gone; nothing stays frozen, nothing half-made stays (S3, S6).

use crate::lab::{Lab, code, copies, eventually, writable_within};
use std::time::Duration;
use umbra_api::v1;

#[test]
fn without_its_array_the_service_runs_and_says_so() {
    let Some(mut lab) = Lab::new() else { return };
    let left = lab.mounted("left", 64, "ext4");
    lab.stop_service();
    lab.stop_array();
    lab.start_service(&[]);
    assert_eq!(code(&lab.create(lab.order(&[&left]))), "unreachable");
    assert_eq!(lab.attachments().len(), 1, "attachments are known without the array");
    lab.start_array();
    eventually("the array is found", Duration::from_secs(10), || lab.create(lab.order(&[&left])).is_ok());
}

#[test]
fn a_service_that_stops_takes_volatile_sets_along_and_leaves_the_others() {
    let Some(mut lab) = Lab::new() else { return };
    let left = lab.mounted("left", 64, "ext4");
    let kept = lab.create(lab.order(&[&left])).unwrap();
    let volatile = v1::CreateRequest { volatile: true, ..lab.order(&[&left]) };
    let events = lab.wait(async {
        let mut events = lab.service_async().await.create(volatile).await.unwrap().into_inner();
        while let Some(event) = events.message().await.unwrap() {
            if matches!(event.event, Some(v1::create_event::Event::Created(_))) {
                break;
            }
        }
        events
    });
    assert_eq!(lab.sets().len(), 2);
    lab.kill_service();
    drop(events);
    lab.start_service(&[]);
    eventually("the volatile one is gone", Duration::from_secs(10), || lab.sets().len() == 1);
    lab.expose(&copies(&kept)[0], "copy").unwrap();
    lab.kill_service();
    lab.start_service(&[]);
    let unexposed = lab.unexpose(&copies(&kept)[0]).unwrap();
    assert_eq!(unexposed.outcome(), v1::Outcome::Deleted, "exposures are found again");
    assert!(writable_within(&left, Duration::from_secs(5)));
}

/// With `--features faults`: strikes inside the window.
#[cfg(feature = "faults")]
mod in_the_window {
    use super::*;
    use std::path::{Path, PathBuf};

    const PAUSE: &str = "pause_after_freeze=4000";

    /// Starts the service so that it rests inside the window, and tells when it does.
    fn start_paused(lab: &mut Lab, pause: &str) {
        let tell = told_at(lab);
        lab.start_service(&[("UMBRA_FAULT", pause), ("UMBRA_FAULT_TELL", tell.to_str().unwrap())]);
    }

    fn told_at(lab: &Lab) -> PathBuf {
        lab.runtime.path().join("inside-the-window")
    }

    fn await_window(lab: &Lab) {
        let inside = told_at(lab);
        eventually("the window opens", Duration::from_secs(60), || std::fs::remove_file(&inside).is_ok());
    }

    fn strike(lab: &mut Lab, left: &Path, blow: impl FnOnce(&mut Lab)) {
        let order = lab.order(&[left]);
        let (socket, order) = (lab.runtime.path().join("umbra.sock"), order);
        let requester = std::thread::spawn(move || {
            let threads = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            threads.block_on(async {
                let mut client = umbra_api::service(&umbra_api::Address::Unix(socket)).await.unwrap();
                let mut events = client.create(order).await.unwrap().into_inner();
                let mut last = None;
                while let Ok(Some(event)) = events.message().await {
                    last = event.event;
                }
                last
            })
        });
        await_window(lab);
        assert!(!writable_within(left, Duration::from_millis(300)), "frozen inside the window");
        blow(lab);
        assert!(writable_within(left, Duration::from_secs(5)), "thawed");
        let last = requester.join().unwrap();
        assert!(!matches!(last, Some(v1::create_event::Event::Created(_))), "{last:?}");
    }

    #[test]
    fn a_killed_service_leaves_nothing_frozen_and_nothing_half_made() {
        let Some(mut lab) = Lab::new() else { return };
        let left = lab.mounted("left", 64, "ext4");
        lab.stop_service();
        start_paused(&mut lab, PAUSE);
        strike(&mut lab, &left, Lab::kill_service);
        lab.start_service(&[]);
        eventually("the pending set is aborted", Duration::from_secs(10), || lab.sets().is_empty());
        lab.create(lab.order(&[&left])).unwrap();
    }

    #[test]
    fn a_second_requester_is_refused_or_waits_while_a_set_is_created() {
        let Some(mut lab) = Lab::new() else { return };
        let (left, right) = (lab.mounted("left", 64, "ext4"), lab.mounted("right", 64, "ext4"));
        lab.stop_service();
        start_paused(&mut lab, "pause_after_freeze=1500");
        let socket = lab.runtime.path().join("umbra.sock");
        let create = |order: v1::CreateRequest| {
            let socket = socket.clone();
            std::thread::spawn(move || {
                let threads = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                threads.block_on(async {
                    let mut client = umbra_api::service(&umbra_api::Address::Unix(socket)).await.unwrap();
                    let mut events = client.create(order).await.unwrap().into_inner();
                    let mut last = None;
                    while let Ok(Some(event)) = events.message().await {
                        last = event.event;
                    }
                    matches!(last, Some(v1::create_event::Event::Created(_)))
                })
            })
        };
        let first = create(lab.order(&[&left]));
        await_window(&lab);
        assert_eq!(code(&lab.create(lab.order(&[&right]))), "snapshot_set_in_progress");
        let second = create(v1::CreateRequest { wait: true, ..lab.order(&[&right]) });
        assert!(first.join().unwrap() && second.join().unwrap());
        assert_eq!(lab.sets().len(), 2);
    }

    #[test]
    fn a_foreign_thaw_fails_the_set() {
        let Some(mut lab) = Lab::new() else { return };
        let left = lab.mounted("left", 64, "ext4");
        lab.stop_service();
        start_paused(&mut lab, PAUSE);
        let at = left.to_str().unwrap().to_owned();
        strike(&mut lab, &left, |_| drop(crate::lab::run("fsfreeze", &["-u", &at])));
        eventually("nothing is left", Duration::from_secs(10), || lab.sets().is_empty());
    }

    #[test]
    fn a_service_that_is_stopped_in_the_window_thaws_first() {
        let Some(mut lab) = Lab::new() else { return };
        let left = lab.mounted("left", 64, "ext4");
        lab.stop_service();
        start_paused(&mut lab, PAUSE);
        strike(&mut lab, &left, Lab::stop_service);
        assert!(lab.sets().is_empty());
    }
}
