//! The end of an edge: everything answered if there is time, and over in time anyway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use split_runtime::grpc::wire::stream::Chunk;
use split_runtime::grpc::wire::stream::split_edge_client::SplitEdgeClient;
use split_runtime::grpc::{Device, DeviceError};
use tokio_stream::StreamExt as _;

use crate::rig::*;

#[test]
fn frames_under_way_are_answered_and_new_ones_refused() {
    run(async {
        let edge = start_slow(options(), 100).await;
        let mut settings = device_options(&edge, &[contract("layer1")]);
        settings.dispatcher.attempts_max = 1;
        let device = Arc::new(Device::start(settings).unwrap());
        device.opened(Duration::from_secs(5)).await.unwrap();
        let under_way = {
            let device = Arc::clone(&device);
            tokio::spawn(async move { device.request(request(1)).await })
        };
        let computing = || metric(&edge, "split_edge_running") == 1;
        assert!(eventually(Duration::from_secs(2), computing).await);
        let start = now();
        let draining = tokio::spawn(edge.drain(Duration::from_secs(5)));
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut late = request(2);
        late.budget_us = 100_000;
        let refused = device.request(late).await.unwrap_err();
        assert!(under_way.await.unwrap().is_ok());
        assert!(
            !matches!(refused, DeviceError::Closed | DeviceError::TooMany { .. }),
            "{refused:?}"
        );
        assert!(draining.await.unwrap(), "a frame was left without answer");
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{:?}",
            start.elapsed()
        );
    });
}

#[test]
fn a_drain_ends_within_its_bound_whatever_the_peers_do() {
    run(async {
        // The tail takes longer than the drain may.
        let edge = start_slow(options(), 3_000).await;
        let device = Arc::new(device(&edge).await);
        let asking = Arc::clone(&device);
        let under_way = tokio::spawn(async move { asking.request(request(1)).await });
        // A stream that never says hello, and a connection that says nothing at all.
        let endpoint =
            tonic::transport::Endpoint::from_shared(format!("http://{}", edge.address()));
        let channel = endpoint.unwrap().connect().await.unwrap();
        let silent = tokio_stream::pending::<Chunk>();
        let _open = SplitEdgeClient::new(channel).connect(silent).await.unwrap();
        let _mute = tokio::net::TcpStream::connect(edge.address())
            .await
            .unwrap();
        let computing = || metric(&edge, "split_edge_running") == 1;
        assert!(eventually(Duration::from_secs(2), computing).await);
        let start = now();
        let drained = edge.drain(Duration::from_millis(300)).await;
        let took = start.elapsed();
        assert!(!drained, "the tail can't have been done");
        assert!(took < Duration::from_millis(1_500), "{took:?}");
        assert!(under_way.await.unwrap().is_err());
    });
}

#[test]
fn readiness_and_health_follow_the_drain() {
    run(async {
        let mut options = options();
        options.admin = Some("127.0.0.1:0".parse().unwrap());
        let edge = start_slow(options, 200).await;
        let admin = edge.admin_address().unwrap();
        assert!(get(admin, "/live").await.starts_with("HTTP/1.1 200"));
        assert!(get(admin, "/ready").await.starts_with("HTTP/1.1 200"));
        let metrics = get(admin, "/metrics").await;
        assert!(metrics.contains("split_edge_ready 1"), "{metrics}");
        let endpoint =
            tonic::transport::Endpoint::from_shared(format!("http://{}", edge.address()));
        let channel = endpoint.unwrap().connect().await.unwrap();
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
        let service = "split.runtime.v1.SplitEdge".to_owned();
        let asked = tonic_health::pb::HealthCheckRequest { service };
        let mut states = health.watch(asked).await.unwrap().into_inner();
        let status = async |states: &mut tonic::Streaming<
            tonic_health::pb::HealthCheckResponse,
        >| { states.next().await.unwrap().unwrap().status() };
        use tonic_health::pb::health_check_response::ServingStatus;
        assert_eq!(status(&mut states).await, ServingStatus::Serving);
        let device = Arc::new(device(&edge).await);
        let asking = Arc::clone(&device);
        let under_way = tokio::spawn(async move { asking.request(request(1)).await });
        let computing = || metric(&edge, "split_edge_running") == 1;
        assert!(eventually(Duration::from_secs(2), computing).await);
        let draining = tokio::spawn(edge.drain(Duration::from_secs(5)));
        assert_eq!(status(&mut states).await, ServingStatus::NotServing);
        assert!(get(admin, "/ready").await.starts_with("HTTP/1.1 503"));
        assert!(get(admin, "/live").await.starts_with("HTTP/1.1 200"));
        assert!(under_way.await.unwrap().is_ok());
        assert!(draining.await.unwrap());
    });
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: edge\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[expect(clippy::disallowed_methods, reason = "the test measures real time")]
fn now() -> Instant {
    Instant::now()
}
