//! The compact stream from end to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use split_runtime::grpc::{Device, DeviceError, Edge, EdgeAddress, Placement, Reply, model_fn};
use split_runtime::{JobError, SendError, Status};

use crate::rig::*;

#[test]
fn frames_are_answered_by_a_model_on_either_place() {
    run(async {
        for placement in [Placement::Thread, Placement::Inline] {
            let mut options = options();
            options.placement = placement;
            let edge = start(options).await;
            let device = device(&edge).await;
            for rung in 0..8 {
                let reply = device.request(request(rung)).await.unwrap();
                let Reply::Edge(answer) = reply else {
                    panic!("{reply:?}");
                };
                assert_eq!(answer.body, answer_to(&frame(rung)));
                assert_eq!(answer.batch, 1);
            }
            assert_eq!(device.counts().answered, 8);
            assert_eq!(metric(&edge, "split_edge_frames_total"), 8);
            assert_eq!(metric(&edge, "split_edge_jobs_total{outcome=\"done\"}"), 8);
        }
    });
}

#[test]
fn a_round_trip_on_loopback_waits_for_no_delayed_acknowledgement() {
    run(async {
        let edge = start(options()).await;
        let device = device(&edge).await;
        let mut times = Vec::new();
        for _ in 0..101 {
            let start = now();
            device.request(request(1)).await.unwrap();
            times.push(start.elapsed());
        }
        times.sort_unstable();
        // Nagle's algorithm and a delayed acknowledgement would make 40 ms of it.
        assert!(times[50] < Duration::from_millis(20), "{:?}", times[50]);
    });
}

#[test]
fn many_frames_at_once_share_batches_and_keep_their_answers() {
    run(async {
        let edge = start_slow(options(), 2).await;
        let device = Arc::new(device(&edge).await);
        let mut tasks = Vec::new();
        for index in 0..48_u8 {
            let device = Arc::clone(&device);
            tasks.push(tokio::spawn(async move {
                let mut request = request(2);
                request.body = frame_with(2, vec![0, index, 2, 3]);
                let expected = answer_to(&request.body);
                let Reply::Edge(answer) = device.request(request).await.unwrap() else {
                    panic!("there is no fallback");
                };
                assert_eq!(answer.body, expected);
                answer.batch
            }));
        }
        let mut largest = 0;
        for task in tasks {
            largest = largest.max(task.await.unwrap());
        }
        assert!(largest > 1, "no two frames shared a batch");
    });
}

#[test]
fn a_foreign_contract_is_refused_with_the_list_of_served_ones() {
    run(async {
        let edge = start(options()).await;
        let mut foreign = contract("layer1");
        foreign.tables = 0x33;
        let device = Device::start(device_options(&edge, &[foreign])).unwrap();
        let error = device.opened(Duration::from_secs(1)).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("differs in tables"), "{text}");
        assert!(text.contains("the edge serves `layer1`"), "{text}");
        assert!(metric(&edge, "split_edge_streams_refused_total") >= 1);
    });
}

#[test]
fn a_rung_that_is_not_there_is_refused_by_name() {
    run(async {
        let edge = start(options()).await;
        let device = device(&edge).await;
        let mut wrong = request(1);
        wrong.rung = 8;
        let error = device.request(wrong).await.unwrap_err();
        assert!(matches!(
            error,
            DeviceError::Unsendable(SendError::UnknownRung { .. })
        ));
        let text = error.to_string();
        assert!(
            text.contains("rung 8 of split `layer1`, which has 8"),
            "{text}"
        );
        // Sent as another rung than it is: the edge says so.
        let mut wrong = request(1);
        wrong.rung = 2;
        let error = device.request(wrong).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("frame of rung 1 of split `layer1`, sent as rung 2"),
            "{text}"
        );
    });
}

#[test]
fn a_corrupted_frame_is_refused_and_counted_and_the_next_one_answered() {
    run(async {
        let edge = start(options()).await;
        let device = device(&edge).await;
        let mut damaged = request(1);
        damaged.body[7] ^= 1;
        let error = device.request(damaged).await.unwrap_err();
        let DeviceError::Refused { status, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*status, Status::BadFrame);
        assert_eq!(metric(&edge, "split_edge_frames_refused_total"), 1);
        device.request(request(1)).await.unwrap();
    });
}

#[test]
fn a_frame_that_panics_the_tail_fails_alone() {
    run(async {
        let tail = |bodies: Vec<Vec<u8>>| -> Vec<Result<Vec<u8>, JobError>> {
            assert!(!bodies.contains(&frame(5)), "rung five breaks it");
            bodies.iter().map(|body| Ok(answer_to(body))).collect()
        };
        let edge = Edge::start(options(), model_fn(tail)).await.unwrap();
        let device = device(&edge).await;
        let (good, bad) = tokio::join!(device.request(request(1)), device.request(request(5)));
        assert!(matches!(good, Ok(Reply::Edge(_))), "{good:?}");
        let status = Status::Failed;
        assert!(matches!(bad, Err(DeviceError::Refused { status: found, .. }) if found == status));
        assert!(metric(&edge, "split_edge_panics_total") >= 1);
        device.request(request(2)).await.unwrap();
    });
}

#[test]
fn a_deadline_that_passes_is_kept_and_the_answer_after_it_is_none() {
    run(async {
        let edge = start_slow(options(), 300).await;
        let device = device(&edge).await;
        let mut short = request(1);
        short.budget_us = 60_000;
        let start = now();
        let error = device.request(short).await.unwrap_err();
        let took = start.elapsed();
        assert!(
            matches!(
                error,
                DeviceError::Expired
                    | DeviceError::Refused {
                        status: Status::Expired,
                        ..
                    }
            ),
            "{error:?}"
        );
        assert!(took < Duration::from_millis(250), "{took:?}");
        // The connection goes on.
        device.request(request(1)).await.unwrap();
    });
}

#[test]
fn the_device_answers_itself_where_the_edge_would_be_too_late() {
    run(async {
        let edge = start_slow(options(), 400).await;
        let mut settings = device_options(&edge, &[contract("layer1")]);
        settings.dispatcher.fallback_us = Some(40_000);
        let device = Device::start(settings).unwrap();
        device.opened(Duration::from_secs(5)).await.unwrap();
        let mut short = request(1);
        short.budget_us = 150_000;
        let reply = device.request_or(short, Box::new(|| Some(vec![9]))).await;
        let computing = Reply::Device {
            body: vec![9],
            why: DeviceError::Expired,
        };
        assert_eq!(reply.unwrap(), computing);
        assert_eq!(device.counts().fallback, 1);
        // Without a connection it doesn't wait for one.
        drop(edge);
        let gone = eventually(Duration::from_secs(2), || device.counts().open == 0).await;
        assert!(gone);
        let reply = device
            .request_or(request(1), Box::new(|| Some(vec![8])))
            .await;
        let Ok(Reply::Device { body, why }) = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(body, [8]);
        assert!(
            matches!(why, DeviceError::NotConnected { .. } | DeviceError::Lost),
            "{why:?}"
        );
    });
}

#[test]
fn a_local_answer_says_what_the_edge_refused() {
    run(async {
        let edge = start(options()).await;
        let mut settings = device_options(&edge, &[contract("layer1")]);
        settings.dispatcher.fallback_us = Some(40_000);
        let device = Device::start(settings).unwrap();
        device.opened(Duration::from_secs(5)).await.unwrap();
        let mut strange = request(1);
        // The header names another rung than the request.
        strange.body = frame(2);
        let reply = device.request_or(strange, Box::new(|| Some(vec![7]))).await;
        let Ok(Reply::Device { body, why }) = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(body, [7]);
        let DeviceError::Refused { status, detail } = why else {
            panic!("{why:?}");
        };
        assert_eq!(status, Status::BadFrame);
        assert!(detail.contains("rung"), "{detail}");
    });
}

#[test]
fn a_fallback_that_fails_leaves_a_named_ending() {
    run(async {
        let edge = start(options()).await;
        let mut settings = device_options(&edge, &[contract("layer1")]);
        settings.dispatcher.fallback_us = Some(10_000);
        // Nobody listens there.
        settings.edges = vec![EdgeAddress::new("127.0.0.1:1")];
        let device = Device::start(settings).unwrap();
        let reply = device
            .request_or(request(1), Box::new(|| panic!("no local tail")))
            .await;
        assert_eq!(reply, Err(DeviceError::Lost));
    });
}

#[test]
fn a_device_comes_back_when_its_edge_does() {
    run(async {
        let edge = start(options()).await;
        let mut settings = device_options(&edge, &[contract("layer1")]);
        settings.reconnect_us = (10_000, 50_000);
        settings.dispatcher.retry_least_us = 1_000;
        let device = Device::start(settings).unwrap();
        device.opened(Duration::from_secs(5)).await.unwrap();
        device.request(request(1)).await.unwrap();
        let mut again = options();
        again.listen = edge.address();
        drop(edge);
        // The port may stay taken for a moment.
        let mut restarted = None;
        for _ in 0..200 {
            let tail = |bodies: Vec<Vec<u8>>| bodies.iter().map(|b| Ok(answer_to(b))).collect();
            match Edge::start(again.clone(), model_fn(tail)).await {
                Ok(edge) => {
                    restarted = Some(edge);
                    break;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        assert!(restarted.is_some(), "the port stayed taken");
        let reply = device.request(request(3)).await.unwrap();
        assert!(matches!(reply, Reply::Edge(_)));
    });
}

#[test]
fn an_overloaded_edge_refuses_with_a_hint_and_bounds_what_waits() {
    run(async {
        let mut options = options();
        options.hub.scheduler.waiting_max = 4;
        options.hub.scheduler.batch_max = 1;
        options.hub.scheduler.fixed_us = 30_000;
        // Else a busy machine may shed from the standing queue first, which says less.
        options.hub.scheduler.standing_target_us = 0;
        let edge = start_slow(options, 30).await;
        let mut settings = device_options(&edge, &[contract("layer1")]);
        settings.dispatcher.attempts_max = 1;
        let device = Arc::new(Device::start(settings).unwrap());
        device.opened(Duration::from_secs(5)).await.unwrap();
        let refused = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..32)
            .map(|_| {
                let (device, refused) = (Arc::clone(&device), Arc::clone(&refused));
                tokio::spawn(async move {
                    match device.request(request(1)).await {
                        Ok(_) => {}
                        Err(DeviceError::Refused { status, detail }) => {
                            assert_eq!(status, Status::Overloaded);
                            let expected = "as many jobs wait as may (try again after ";
                            assert!(detail.starts_with(expected), "{detail}");
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(other) => panic!("{other}"),
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let refused = refused.load(Ordering::Relaxed);
        assert!((20..=28).contains(&refused), "{refused} of 32");
    });
}

#[expect(clippy::disallowed_methods, reason = "the test measures real time")]
fn now() -> Instant {
    Instant::now()
}
