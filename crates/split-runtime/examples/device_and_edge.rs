//! A device and an edge that talk through two byte buffers: no socket, no clock.
//!
//! The head and the tail are closures here; a real device runs the first layers of a backbone
//! and a real edge the rest.

#![expect(clippy::print_stdout, reason = "an example shows its result")]

use split_runtime::{
    Answer, Contract, DeviceConfig, DeviceConnection, DeviceEvent, EdgeConfig, EdgeConnection,
    EdgeEvent, Outcome, Request, Time,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let contract = Contract {
        backbone: 0x5eed,
        split: "layer2".to_owned(),
        unit: 0x0123,
        tables: 0x4567,
        bank: 1,
        rungs: 4,
    };
    let head = |picture: &[u8]| -> Vec<u8> { picture.chunks(8).map(|part| part[0]).collect() };
    let tail = |frame: &[u8]| -> Vec<u8> { vec![*frame.iter().max().unwrap_or(&0)] };
    let mut now = Time::ZERO;
    // These bodies are plain bytes; frames of `split-tensor` would be checked.
    let mut config = EdgeConfig::new(vec![contract.clone()]);
    config.check_frames = false;
    let mut device = DeviceConnection::new(DeviceConfig::new(vec![contract]), now)?;
    let mut edge = EdgeConnection::new(config, now)?;
    let mut pictures = (0..3_u8).map(|index| vec![index * 10; 64]);
    let mut answers = 0;
    while answers < 3 {
        // The wire: 5 ms each way.
        now = now.after(5_000);
        let mut up = Vec::new();
        if device.poll_transmit(&mut up) {
            edge.receive(now, &up)?;
        }
        while let Some(event) = edge.poll_event() {
            if let EdgeEvent::Frame { seq, body, .. } = event {
                edge.reply(now, seq, Answer::ok(0, 1, 800, tail(&body)))?;
            }
        }
        now = now.after(5_000);
        let mut down = Vec::new();
        if edge.poll_transmit(&mut down) {
            device.receive(now, &down)?;
        }
        while let Some(event) = device.poll_event() {
            if let DeviceEvent::Outcome { seq, outcome } = event {
                let Outcome::Answered {
                    answer,
                    round_trip_us,
                } = outcome
                else {
                    return Err(format!("frame {seq}: {outcome:?}").into());
                };
                println!(
                    "frame {seq}: class {} after {round_trip_us} us",
                    answer.body[0]
                );
                answers += 1;
            }
        }
        if device.is_open()
            && let Some(picture) = pictures.next()
        {
            let body = head(&picture);
            let request = Request {
                split: 0,
                rung: 2,
                budget_us: 50_000,
                body: &body,
            };
            device.send(now, &request)?;
        }
    }
    Ok(())
}
