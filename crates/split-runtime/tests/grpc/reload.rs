//! Contracts that change while an edge serves.

use std::time::Duration;

use split_runtime::grpc::{Device, DeviceError, Edge, EdgeModel, Reply};
use split_runtime::{BatchKey, Job, JobError, ServedKey};

use crate::rig::*;

fn key(split: u16) -> ServedKey {
    let key = BatchKey {
        backbone: 0xb0b0,
        split,
        shape: [4, 8, 8],
    };
    key.into()
}

#[test]
fn devices_of_contracts_that_stay_do_not_notice_a_change() {
    run(async {
        let edge = start(options()).await;
        let device = device(&edge).await;
        let served = [(contract("layer1"), key(0)), (contract("layer2"), key(1))];
        edge.set_contracts(&served, Duration::from_secs(1)).unwrap();
        let reply = device.request(request(1)).await.unwrap();
        assert!(matches!(reply, Reply::Edge(_)));
        assert_eq!(device.counts().retries, 0);
        assert_eq!(metric(&edge, "split_edge_model_reloads_total"), 1);
        let newcomer = Device::start(device_options(&edge, &[contract("layer2")])).unwrap();
        newcomer.opened(Duration::from_secs(5)).await.unwrap();
        newcomer.request(request(2)).await.unwrap();
    });
}

#[test]
fn devices_of_a_contract_that_goes_are_answered_and_then_refused() {
    run(async {
        let edge = start_slow(options(), 100).await;
        let mut settings = device_options(&edge, &[contract("layer1")]);
        settings.reconnect_us = (10_000, 20_000);
        let device = Device::start(settings).unwrap();
        device.opened(Duration::from_secs(5)).await.unwrap();
        let asked = device.request(request(1));
        let change = async {
            let taken = || metric(&edge, "split_edge_running") == 1;
            assert!(eventually(Duration::from_secs(5), taken).await);
            let served = [(contract("layer2"), key(1))];
            edge.set_contracts(&served, Duration::from_secs(2)).unwrap();
        };
        let (reply, ()) = tokio::join!(asked, change);
        assert!(matches!(reply, Ok(Reply::Edge(_))), "{reply:?}");
        let mut refused = String::new();
        for _ in 0..1_000 {
            if let Err(DeviceError::NotConnected { detail }) = device.opened(Duration::ZERO).await {
                refused = detail;
                if refused.contains("layer2") {
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(refused.contains("the edge serves `layer2`"), "{refused}");
    });
}

#[test]
fn lists_that_cannot_be_served_change_nothing() {
    run(async {
        let edge = start(options()).await;
        let device = device(&edge).await;
        assert!(edge.set_contracts(&[], Duration::from_secs(1)).is_err());
        device.request(request(1)).await.unwrap();
    });
}

/// Answers with the number of the key that it is given.
struct Keyed;

impl EdgeModel for Keyed {
    type Input = ();

    fn decode(&mut self, _: &Job) -> Result<(), JobError> {
        Ok(())
    }

    fn run(&mut self, key: &BatchKey, inputs: Vec<()>) -> Vec<Result<Vec<u8>, JobError>> {
        let answer = key.split.to_le_bytes().to_vec();
        inputs.iter().map(|()| Ok(answer.clone())).collect()
    }
}

async fn answer_of(device: &Device) -> Vec<u8> {
    match device.request(request(1)).await.unwrap() {
        Reply::Edge(answer) => answer.body,
        local => panic!("{local:?}"),
    }
}

#[test]
fn a_device_keeps_its_key_where_contracts_before_its_own_come_and_go() {
    run(async {
        let edge = Edge::start(options(), Keyed).await.unwrap();
        let old = device(&edge).await;
        assert_eq!(answer_of(&old).await, [0, 0]);
        // Its contract has another place from here on, and the first place another key.
        let served = [(contract("layer0"), key(5)), (contract("layer1"), key(0))];
        edge.set_contracts(&served, Duration::from_secs(1)).unwrap();
        let new = Device::start(device_options(&edge, &[contract("layer0")])).unwrap();
        new.opened(Duration::from_secs(5)).await.unwrap();
        let same = device(&edge).await;
        for (device, expected) in [(&old, [0, 0]), (&new, [5, 0]), (&same, [0, 0])] {
            assert_eq!(answer_of(device).await, expected);
        }
        assert_eq!(old.counts().retries, 0);
    });
}
