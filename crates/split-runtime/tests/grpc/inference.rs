//! The Open Inference Protocol, as a client of Triton or KServe speaks it.

use std::time::Duration;

use split_runtime::grpc::wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use split_runtime::grpc::wire::inference::infer_parameter::ParameterChoice;
use split_runtime::grpc::wire::inference::model_infer_request::InferInputTensor;
use split_runtime::grpc::wire::inference::*;
use split_runtime::grpc::{Edge, EdgeOptions, model_of};
use split_tensor::{Frame, FrameHeader};
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::rig::*;

type Client = GrpcInferenceServiceClient<Channel>;

async fn client(edge: &Edge) -> Client {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", edge.address()));
    Client::new(endpoint.unwrap().connect().await.unwrap())
}

fn bytes_request(frames: &[Vec<u8>]) -> ModelInferRequest {
    let mut raw = Vec::new();
    for frame in frames {
        raw.extend_from_slice(&u32::try_from(frame.len()).unwrap().to_le_bytes());
        raw.extend_from_slice(frame);
    }
    ModelInferRequest {
        model_name: "layer1".to_owned(),
        id: "request-1".to_owned(),
        inputs: vec![InferInputTensor {
            name: "frame".to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![i64::try_from(frames.len()).unwrap()],
            ..Default::default()
        }],
        raw_input_contents: vec![raw.into()],
        ..Default::default()
    }
}

fn parameter(choice: ParameterChoice) -> InferParameter {
    InferParameter {
        parameter_choice: Some(choice),
    }
}

async fn infer(
    client: &mut Client,
    request: ModelInferRequest,
) -> Result<ModelInferResponse, tonic::Status> {
    client
        .model_infer(request)
        .await
        .map(tonic::Response::into_inner)
}

#[test]
fn metadata_names_the_contract() {
    run(async {
        let edge = start(options()).await;
        let mut client = client(&edge).await;
        let live = client.server_live(ServerLiveRequest {}).await.unwrap();
        assert!(live.into_inner().live);
        let ready = client.server_ready(ServerReadyRequest {}).await.unwrap();
        assert!(ready.into_inner().ready);
        let (name, version) = model_of(&contract("layer1"));
        let asked = ModelReadyRequest {
            name: name.clone(),
            version: version.clone(),
        };
        assert!(client.model_ready(asked).await.unwrap().into_inner().ready);
        let asked = ModelMetadataRequest {
            name: name.clone(),
            version: version.clone(),
        };
        let metadata = client.model_metadata(asked).await.unwrap().into_inner();
        assert_eq!(metadata.versions, [version]);
        assert_eq!(metadata.properties["tables"], "0000000000000022");
        assert_eq!(metadata.inputs[0].name, "frame");
        let server = client
            .server_metadata(ServerMetadataRequest {})
            .await
            .unwrap();
        assert_eq!(server.into_inner().name, "split-edge");
    });
}

#[test]
fn frames_are_answered_in_every_form_of_the_tensor() {
    run(async {
        let edge = start(options()).await;
        let mut client = client(&edge).await;
        let frames = vec![frame(1), frame(2)];
        let expected: Vec<u8> = frames
            .iter()
            .flat_map(|frame| {
                let answer = answer_to(frame);
                let mut raw = u32::try_from(answer.len()).unwrap().to_le_bytes().to_vec();
                raw.extend(answer);
                raw
            })
            .collect();
        let response = infer(&mut client, bytes_request(&frames)).await.unwrap();
        assert_eq!(response.id, "request-1");
        assert_eq!(response.outputs[0].shape, [2]);
        assert_eq!(response.raw_output_contents[0], expected);
        let one = &expected[..expected.len() / 2];

        let mut uint8 = bytes_request(&[]);
        uint8.inputs[0].datatype = "UINT8".to_owned();
        uint8.inputs[0].shape = vec![1, i64::try_from(frames[0].len()).unwrap()];
        uint8.raw_input_contents = vec![frames[0].clone().into()];
        let response = infer(&mut client, uint8.clone()).await.unwrap();
        assert_eq!(response.raw_output_contents[0], one);

        uint8.raw_input_contents.clear();
        uint8.inputs[0].contents = Some(InferTensorContents {
            uint_contents: frames[0].iter().map(|&byte| u32::from(byte)).collect(),
            ..Default::default()
        });
        let response = infer(&mut client, uint8).await.unwrap();
        assert_eq!(response.raw_output_contents[0], one);

        let mut typed = bytes_request(&frames[..1]);
        typed.raw_input_contents.clear();
        typed.inputs[0].contents = Some(InferTensorContents {
            bytes_contents: vec![frames[0].clone().into()],
            ..Default::default()
        });
        let response = infer(&mut client, typed).await.unwrap();
        assert_eq!(response.raw_output_contents[0], one);
    });
}

#[expect(
    clippy::too_many_lines,
    reason = "one table: what is sent, what is said"
)]
#[test]
fn each_refusal_has_its_code_and_names_what_is_wrong() {
    run(async {
        let edge = start(options()).await;
        let mut client = client(&edge).await;
        let good = || bytes_request(&[frame(1)]);
        let with = |name: &str, choice: ParameterChoice| {
            let mut request = good();
            request
                .parameters
                .insert(name.to_owned(), parameter(choice));
            request
        };
        let text = |value: &str| ParameterChoice::StringParam(value.to_owned());
        let mut other_model = good();
        other_model.model_name = "layer9".to_owned();
        let mut other_version = good();
        other_version.model_version = "00000008".to_owned();
        let mut damaged = frame(1);
        damaged[6] ^= 1;
        let mut other_name = good();
        other_name.inputs[0].name = "picture".to_owned();
        let mut other_type = good();
        other_type.inputs[0].datatype = "FP32".to_owned();
        let mut shape = good();
        shape.inputs[0].shape = vec![2];
        let mut negative = good();
        negative.inputs[0].shape = vec![-1];
        let mut cut = good();
        cut.raw_input_contents = vec![vec![9, 0, 0, 0, 1].into()];
        let mut both = good();
        both.inputs[0].contents = Some(InferTensorContents::default());
        let cases = [
            (other_model, Code::NotFound, "served are `layer1`"),
            (
                other_version,
                Code::NotFound,
                "version `00000008` isn't served",
            ),
            (
                with("tables", text("0000000000000033")),
                Code::FailedPrecondition,
                "differs in tables",
            ),
            (
                with("rung", ParameterChoice::Int64Param(2)),
                Code::InvalidArgument,
                "frame of rung 1 of split `layer1`, sent as rung 2",
            ),
            (
                with("rung", ParameterChoice::Int64Param(9)),
                Code::NotFound,
                "rung 9 of split `layer1`, which has 8",
            ),
            (
                with("rung", ParameterChoice::BoolParam(true)),
                Code::InvalidArgument,
                "whole number",
            ),
            (
                with("unit", ParameterChoice::Int64Param(1)),
                Code::InvalidArgument,
                "has to be a text",
            ),
            (
                bytes_request(&[damaged]),
                Code::InvalidArgument,
                "unreadable frame",
            ),
            (other_name, Code::InvalidArgument, "input `picture`"),
            (other_type, Code::InvalidArgument, "datatype `FP32`"),
            (shape, Code::InvalidArgument, "1 elements, the shape says 2"),
            (negative, Code::InvalidArgument, "has no size"),
            (
                cut,
                Code::InvalidArgument,
                "an element of 9 bytes, 1 are left",
            ),
            (both, Code::InvalidArgument, "both raw and typed"),
            (bytes_request(&[]), Code::InvalidArgument, "0 frames"),
            (
                bytes_request(&vec![frame(1); 65]),
                Code::InvalidArgument,
                "more elements",
            ),
        ];
        for (request, code, expected) in cases {
            let status = infer(&mut client, request).await.unwrap_err();
            assert_eq!(status.code(), code, "{status:?}");
            assert!(
                status.message().contains(expected),
                "`{expected}` is not in `{}`",
                status.message()
            );
        }
        infer(&mut client, with("unknown", text("is ignored")))
            .await
            .unwrap();
    });
}

#[test]
fn a_budget_ends_a_call_and_leaves_nothing_behind() {
    run(async {
        let edge = start_slow(options(), 300).await;
        let mut client = client(&edge).await;
        let mut short = bytes_request(&[frame(1)]);
        let timeout = parameter(ParameterChoice::Int64Param(50_000));
        short.parameters.insert("timeout".to_owned(), timeout);
        let status = infer(&mut client, short).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        // The same by the header that gRPC has for it.
        let mut request = Request::new(bytes_request(&[frame(1)]));
        request.set_timeout(Duration::from_millis(50));
        let status = client.model_infer(request).await.unwrap_err();
        // A client of tonic says `Cancelled` when its own clock is the first.
        assert!(
            matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
            "{status:?}"
        );
        let idle =
            || metric(&edge, "split_edge_waiting") + metric(&edge, "split_edge_running") == 0;
        assert!(eventually(Duration::from_secs(3), idle).await);
        infer(&mut client, bytes_request(&[frame(1)]))
            .await
            .unwrap();
    });
}

#[test]
fn a_client_that_goes_away_takes_its_waiting_frames_along() {
    run(async {
        let mut options = options();
        options.hub.scheduler.batch_max = 1;
        let edge = start_slow(options, 200).await;
        let mut first = client(&edge).await;
        let busy = tokio::spawn(async move { infer(&mut first, bytes_request(&[frame(1)])).await });
        let computing = || metric(&edge, "split_edge_running") == 1;
        assert!(eventually(Duration::from_secs(2), computing).await);
        let mut second = client(&edge).await;
        let gone =
            tokio::spawn(async move { infer(&mut second, bytes_request(&[frame(2)])).await });
        let waiting = || metric(&edge, "split_edge_waiting") == 1;
        assert!(eventually(Duration::from_secs(2), waiting).await);
        gone.abort();
        let cancelled = || metric(&edge, "split_edge_jobs_total{outcome=\"cancelled\"}") == 1;
        assert!(eventually(Duration::from_secs(2), cancelled).await);
        busy.await.unwrap().unwrap();
    });
}

#[test]
fn without_a_version_the_frame_says_which_of_two_models_is_meant() {
    run(async {
        let mut second = contract("layer1");
        second.bank = BANK + 1;
        second.unit = 0x33;
        let edge = start(EdgeOptions::new(hub(&[contract("layer1"), second.clone()]))).await;
        let mut client = client(&edge).await;
        let of = |bank: u32| {
            let header = FrameHeader {
                rung: 1,
                bank,
                shape: None,
                checksum: true,
            };
            Frame::new(header, vec![1, 2]).unwrap().to_bytes()
        };
        for bank in [BANK, BANK + 1] {
            infer(&mut client, bytes_request(&[of(bank)]))
                .await
                .unwrap();
        }
        let refused = infer(&mut client, bytes_request(&[of(BANK + 2)])).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let versions = "00000007, 00000008";
        assert!(refused.message().contains(versions), "{refused:?}");
        let mut named = bytes_request(&[of(BANK + 1)]);
        named.model_version = model_of(&second).1;
        infer(&mut client, named).await.unwrap();
        let asked = ModelMetadataRequest {
            name: "layer1".to_owned(),
            version: String::new(),
        };
        let found = client.model_metadata(asked).await.unwrap().into_inner();
        assert_eq!(found.versions.join(", "), versions);
    });
}
