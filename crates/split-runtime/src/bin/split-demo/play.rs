//! Has one picture after the other classified.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::page::Stage;
use crate::program::out;
use crate::programs::DeviceProcess;

/// Devices that may end one after the other without an answer between them.
const FAILURES_MAX: usize = 3;

/// Plays over and over until a program ends.
pub(crate) async fn run(stage: &Stage, model: &Path, link: SocketAddr) -> Result<()> {
    let mut changes = stage.changes();
    let mut controls = changes.borrow_and_update().clone();
    let mut device = None;
    let mut failures = 0;
    for (place, picture) in stage.album.iter().enumerate().cycle() {
        let start = out::now();
        let mut playing = match device.take() {
            Some(playing) => playing,
            None => {
                if !controls.alone {
                    // It would end without an edge.
                    stage.link().wait_for(|link| link.up).await?;
                }
                DeviceProcess::start(model, link, &controls)?
            }
        };
        let mut said = match playing.ask(&picture.path, controls.deadline_ms).await {
            Ok(said) => said,
            Err(error) if failures < FAILURES_MAX => {
                failures += 1;
                out::log(&format!("{}; it is started again", out::said(&error)));
                continue;
            }
            Err(error) => return Err(error).context("a device that does not stay"),
        };
        failures = 0;
        said["place"] = json!(place);
        said["file_bytes"] = json!(picture.bytes);
        said["truth"] = json!(picture.truth);
        said["deadline_us"] = json!(controls.deadline_ms * 1000);
        stage.tell(said);
        let period = Duration::from_secs(60) / controls.per_minute;
        let rest = tokio::time::sleep(period.saturating_sub(start.elapsed()));
        tokio::select! {
            () = rest => {}
            changed = changes.changed() => changed?,
        }
        let now = changes.borrow_and_update().clone();
        if !now.is_other_device(&controls) {
            device = Some(playing);
        }
        controls = now;
    }
    Ok(())
}
