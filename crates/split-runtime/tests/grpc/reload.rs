//! Contracts that change while an edge serves.

use std::time::Duration;

use split_runtime::grpc::{Device, DeviceError, Reply};
use split_runtime::{BatchKey, ServedKey};

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
            tokio::time::sleep(Duration::from_millis(30)).await;
            let served = [(contract("layer2"), key(1))];
            edge.set_contracts(&served, Duration::from_secs(2)).unwrap();
        };
        let (reply, ()) = tokio::join!(asked, change);
        assert!(matches!(reply, Ok(Reply::Edge(_))), "{reply:?}");
        let mut refused = String::new();
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if let Err(DeviceError::NotConnected { detail }) = device.opened(Duration::ZERO).await {
                refused = detail;
                if refused.contains("layer2") {
                    break;
                }
            }
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
