//! The story, a file for each chapter. A chapter takes what the ones before it left, and leaves what the next need.

mod application;
mod breaking;
mod ending;
mod ground;
mod lasting;
mod second_host;
mod set;

use super::{record::Recorder, scene::Scene, trouble::Told};
use tokio::process::Child;

/// The servers of the story.
#[derive(Debug)]
pub struct Servers {
    pub array: Child,
    pub service: Child,
}

/// A volume of the story and what became of it.
#[derive(Debug)]
pub struct Lun {
    pub id: String,
    /// `data` or `wal`.
    pub volume: &'static str,
    pub device: String,
}

/// Tells it from the beginning to the end, or to the first step that does not hold.
pub async fn tell(scene: &Scene, recorder: &Recorder) -> Told<()> {
    let (mut servers, originals) = ground::tell(scene, recorder).await?;
    let mut database = application::tell(scene, recorder, &mut servers).await?;
    let set = set::tell(scene, recorder, &originals, &mut database).await?;
    let clones = breaking::tell(scene, recorder, &set, &originals, &mut database).await?;
    second_host::tell(scene, recorder, &clones).await?;
    lasting::tell(scene, recorder, &mut servers, &originals, &clones, &mut database).await?;
    ending::tell(scene, recorder, servers, &clones).await
}
