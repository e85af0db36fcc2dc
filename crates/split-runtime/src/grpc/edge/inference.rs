//! The Open Inference Protocol in front of the hub.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use super::core::Core;
use super::guard::ConnectionUse;
use super::options::EdgeLimits;
use super::tensors::{INPUT, bad, frames_of_infer, join_elements, shorten, text, whole_number};
use crate::grpc::explained;
use crate::grpc::pb::inference::grpc_inference_service_server::GrpcInferenceService;
use crate::grpc::pb::inference::infer_parameter::ParameterChoice;
use crate::grpc::pb::inference::model_infer_response::InferOutputTensor;
use crate::grpc::pb::inference::model_metadata_response::TensorMetadata;
use crate::grpc::pb::inference::{
    InferParameter, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
    ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse, ServerLiveRequest,
    ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest,
    ServerReadyResponse,
};
use crate::grpc::trace::{InferSpan, Parent};
use crate::proto::{Answer, Contract, MAX_BUDGET_US, Status as Ending, bank_of};
use crate::serving::Call;

/// The name of the one output.
const OUTPUT: &str = "answer";

/// A contract's name and version as a model of the Open Inference Protocol: the split point, and the
/// number of the bank in eight hexadecimal digits.
#[must_use]
pub fn model_of(contract: &Contract) -> (String, String) {
    (contract.split.clone(), format!("{:08x}", contract.bank))
}

pub(crate) struct InferenceService {
    pub(crate) core: Arc<Core>,
    pub(crate) limits: EdgeLimits,
}

#[tonic::async_trait]
impl GrpcInferenceService for InferenceService {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        let ready = self.core.is_ready();
        Ok(Response::new(ServerReadyResponse { ready }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        self.find(&name, &version)?;
        let ready = self.core.is_ready();
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(ServerMetadataResponse {
            name: "split-edge".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: vec!["split.runtime.v1.SplitEdge".to_owned()],
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let found = self.find(&name, &version)?;
        Ok(Response::new(metadata(&found)))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let connection = request.extensions().get::<ConnectionUse>().cloned();
        let client = connection.as_ref().map_or(0, ConnectionUse::client);
        if let Some(connection) = &connection {
            connection.touch();
        }
        let sent_timeout = timeout_of(&request);
        let span = InferSpan::begin(self.core.tracer.as_ref(), request.metadata());
        let caller = Caller {
            client,
            sent_timeout,
            parent: span.as_parent(),
        };
        let response = self.infer(caller, request.into_inner()).await;
        span.end(&response);
        if let Some(connection) = &connection {
            connection.touch();
        }
        response.map(Response::new)
    }
}

impl InferenceService {
    async fn infer(
        &self,
        caller: Caller,
        request: ModelInferRequest,
    ) -> Result<ModelInferResponse, Status> {
        let found = self.find(&request.model_name, &request.model_version)?;
        let frames = frames_of_infer(&request, self.limits.frames_per_call_max)?;
        let contract = meant(found, &request.model_name, frames.first())?;
        check_digests(&contract, &request)?;
        let rung = whole_number(&request, "rung")?
            .map(u16::try_from)
            .transpose()
            .map_err(|_| bad("parameter `rung` is above 65535"))?;
        let budget_us = self.budget_us(whole_number(&request, "timeout")?, caller.sent_timeout)?;
        let mut open = OpenCalls {
            core: Arc::clone(&self.core),
            ids: Vec::with_capacity(frames.len()),
        };
        let mut receivers = Vec::with_capacity(frames.len());
        for body in frames {
            let call = Call {
                client: caller.client,
                // The core finds it under its lock.
                contract: 0,
                rung,
                budget_us,
                body,
            };
            let (id, receiver) = self
                .core
                .call(&contract, call, &caller.parent)
                .map_err(|answer| refused(&answer))?;
            open.ids.push(id);
            receivers.push(receiver);
        }
        let within = Duration::from_micros(u64::from(budget_us));
        let answers = tokio::time::timeout(within, async {
            let mut answers = Vec::with_capacity(receivers.len());
            for receiver in receivers {
                let answer = receiver
                    .await
                    .map_err(|_| Status::unavailable("the edge stopped"))?;
                if answer.status != Ending::Ok {
                    return Err(refused(&answer));
                }
                answers.push(answer);
            }
            Ok(answers)
        })
        .await
        .map_err(|_| Status::deadline_exceeded("the budget ran out"))??;
        Ok(response(request, answers))
    }

    /// All contracts of a model, at least one; without a version there may be several.
    fn find(&self, name: &str, version: &str) -> Result<Vec<Contract>, Status> {
        let contracts = self.core.contracts();
        let fits = |contract: &&Contract| {
            let (split, bank) = model_of(contract);
            split == name && (version.is_empty() || bank == version)
        };
        let found: Vec<Contract> = contracts.iter().filter(fits).cloned().collect();
        if found.is_empty() {
            let served: Vec<String> = contracts.iter().map(ToString::to_string).collect();
            return Err(Status::not_found(format!(
                "model `{}` version `{}` isn't served; served are {}",
                shorten(name),
                shorten(version),
                served.join(", ")
            )));
        }
        Ok(found)
    }

    /// The shorter of what the request says and what gRPC says, with a default for neither.
    fn budget_us(&self, parameter: Option<u64>, sent: Option<Duration>) -> Result<u32, Status> {
        let sent_us = sent.map(|sent| u64::try_from(sent.as_micros()).unwrap_or(u64::MAX));
        let named = parameter.filter(|&us| us > 0);
        let budget_us = match (named, sent_us) {
            (Some(named), Some(sent)) => named.min(sent),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => u64::from(self.limits.call_budget_us),
        };
        if budget_us == 0 {
            return Err(Status::deadline_exceeded("no time is left"));
        }
        Ok(u32::try_from(budget_us)
            .unwrap_or(MAX_BUDGET_US)
            .min(MAX_BUDGET_US))
    }
}

/// What is known of a request beside its message.
struct Caller {
    client: u64,
    sent_timeout: Option<Duration>,
    parent: Parent,
}

/// Calls that are given up when their request goes away.
struct OpenCalls {
    core: Arc<Core>,
    ids: Vec<u32>,
}

impl Drop for OpenCalls {
    fn drop(&mut self) {
        for &id in &self.ids {
            self.core.cancel_call(id);
        }
    }
}

/// The one of these contracts that is meant, at least one. Without a version two models may share a split point:
/// then the first frame says of which bank it is.
fn meant(
    mut found: Vec<Contract>,
    name: &str,
    first: Option<&Vec<u8>>,
) -> Result<Contract, Status> {
    if found.len() == 1 {
        return Ok(found.remove(0));
    }
    let bank = first.and_then(|frame| bank_of(frame));
    let index = found.iter().position(|one| Some(one.bank) == bank);
    let index = index.ok_or_else(|| {
        let versions: Vec<String> = found.iter().map(|one| model_of(one).1).collect();
        Status::failed_precondition(format!(
            "model `{}` has the versions {}, and the frame is of none of them; name one",
            shorten(name),
            versions.join(", ")
        ))
    })?;
    Ok(found.swap_remove(index))
}

/// The contracts of a model; properties are those that all of them share.
fn metadata(contracts: &[Contract]) -> ModelMetadataResponse {
    let (name, _) = model_of(&contracts[0]);
    let tensor = |name: &str| TensorMetadata {
        name: name.to_owned(),
        datatype: "BYTES".to_owned(),
        shape: vec![-1],
    };
    let shared = |of: fn(&Contract) -> String| {
        let value = of(&contracts[0]);
        contracts
            .iter()
            .all(|one| of(one) == value)
            .then_some(value)
    };
    let properties = [
        ("backbone", shared(|one| format!("{:016x}", one.backbone))),
        ("unit", shared(|one| format!("{:016x}", one.unit))),
        ("tables", shared(|one| format!("{:016x}", one.tables))),
        ("rungs", shared(|one| one.rungs.to_string())),
    ];
    let properties = properties
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    ModelMetadataResponse {
        name,
        versions: contracts.iter().map(|one| model_of(one).1).collect(),
        platform: "split-runtime".to_owned(),
        inputs: vec![tensor(INPUT)],
        outputs: vec![tensor(OUTPUT)],
        properties: properties.collect(),
    }
}

/// Digests that the client names have to be those of the contract.
fn check_digests(contract: &Contract, request: &ModelInferRequest) -> Result<(), Status> {
    let digests = [
        ("backbone", contract.backbone),
        ("unit", contract.unit),
        ("tables", contract.tables),
    ];
    for (name, served) in digests {
        let served = format!("{served:016x}");
        match text(request, name)? {
            Some(found) if found != served => {
                return Err(Status::failed_precondition(format!(
                    "the contract differs in {name}: `{}`; this edge serves {contract}",
                    shorten(found)
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

fn response(request: ModelInferRequest, answers: Vec<Answer>) -> ModelInferResponse {
    let number = |value: u64| InferParameter {
        parameter_choice: Some(ParameterChoice::Int64Param(
            i64::try_from(value).unwrap_or(i64::MAX),
        )),
    };
    let slowest = |of: fn(&Answer) -> u64| answers.iter().map(of).max().unwrap_or(0);
    let parameters = [
        ("queue_us", slowest(|answer| u64::from(answer.queue_us))),
        ("compute_us", slowest(|answer| u64::from(answer.compute_us))),
        ("batch", slowest(|answer| u64::from(answer.batch))),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), number(value)));
    let bodies: Vec<Vec<u8>> = answers.into_iter().map(|answer| answer.body).collect();
    ModelInferResponse {
        model_name: request.model_name,
        model_version: request.model_version,
        id: request.id,
        parameters: parameters.into(),
        outputs: vec![InferOutputTensor {
            name: OUTPUT.to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![i64::try_from(bodies.len()).unwrap_or(i64::MAX)],
            ..InferOutputTensor::default()
        }],
        raw_output_contents: vec![join_elements(&bodies).into()],
    }
}

fn refused(answer: &Answer) -> Status {
    let message = |default: &str| explained(answer, default);
    match answer.status {
        Ending::Ok => Status::internal("an answer was taken for a refusal"),
        Ending::Overloaded => Status::resource_exhausted(message("the edge is overloaded")),
        Ending::CreditExceeded => Status::resource_exhausted(message("too many frames at once")),
        Ending::Expired => Status::deadline_exceeded(message("the budget ran out in the queue")),
        Ending::Draining => Status::unavailable(message("the edge drains")),
        Ending::UnknownSplit | Ending::UnknownRung => Status::not_found(message("no such rung")),
        Ending::BadFrame | Ending::FrameTooLong => Status::invalid_argument(message("bad frame")),
        Ending::Failed => Status::internal(message("the tail failed")),
    }
}

/// `grpc-timeout`: up to eight digits and a unit. One that can't be read counts as none.
fn timeout_of<T>(request: &Request<T>) -> Option<Duration> {
    parse_timeout(request.metadata().get("grpc-timeout")?.to_str().ok()?)
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_with_their_unit_or_not_at_all() {
        assert_eq!(parse_timeout("1010m"), Some(Duration::from_millis(1010)));
        assert_eq!(parse_timeout("5S"), Some(Duration::from_secs(5)));
        assert_eq!(
            parse_timeout("99999999H"),
            Some(Duration::from_secs(359_999_996_400))
        );
        for text in ["", "m", "1", "-1m", "123456789m", "1x", "1é"] {
            assert_eq!(parse_timeout(text), None, "{text}");
        }
    }
}
