//! Frames in the tensors of the Open Inference Protocol, checked before anything is taken.

use tonic::Status;

use crate::grpc::pb::inference::infer_parameter::ParameterChoice;
use crate::grpc::pb::inference::model_infer_request::InferInputTensor;
use crate::grpc::pb::inference::{InferParameter, ModelInferRequest};

/// The name of the one input.
pub(crate) const INPUT: &str = "frame";

/// The request for the answers of model `model` to some frames, as [`frames_of_infer`] reads it: one
/// input of BYTES.
///
/// # Panics
/// If a frame has more than 4 GiB.
#[must_use]
pub fn infer_of_frames(model: &str, frames: &[Vec<u8>]) -> ModelInferRequest {
    let elements = i64::try_from(frames.len()).expect("a slice is shorter");
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![InferInputTensor {
            name: INPUT.to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![elements],
            ..Default::default()
        }],
        raw_input_contents: vec![join_elements(frames).into()],
        ..Default::default()
    }
}

/// The frames of a request.
///
/// Its input `frame` is either BYTES `[k]`, k frames, or UINT8 `[n]` or `[1, n]`, the bytes of one.
///
/// # Errors
/// `InvalidArgument` with the rule that is broken.
pub fn frames_of_infer(
    request: &ModelInferRequest,
    frames_max: usize,
) -> Result<Vec<Vec<u8>>, Status> {
    let [input] = request.inputs.as_slice() else {
        return Err(bad(format!(
            "{} inputs, one is expected: `{INPUT}`",
            request.inputs.len()
        )));
    };
    if input.name != INPUT {
        return Err(bad(format!(
            "input `{}`, the only one is `{INPUT}`",
            shorten(&input.name)
        )));
    }
    let elements = element_count(&input.shape)?;
    let contents = input.contents.as_ref();
    let frames = match (
        input.datatype.as_str(),
        request.raw_input_contents.as_slice(),
    ) {
        (_, [_]) if contents.is_some() => {
            return Err(bad("both raw and typed contents are given"));
        }
        ("BYTES", [raw]) => split_elements(raw, elements, frames_max)?,
        ("UINT8", [raw]) => vec![raw.to_vec()],
        ("BYTES", []) => {
            let contents = contents.map_or(&[][..], |contents| &contents.bytes_contents);
            contents.iter().map(|frame| frame.to_vec()).collect()
        }
        ("UINT8", []) => {
            let contents = contents.map_or(&[][..], |contents| &contents.uint_contents);
            let bytes: Result<Vec<u8>, _> = contents.iter().map(|&v| u8::try_from(v)).collect();
            vec![bytes.map_err(|_| bad("a UINT8 element is above 255"))?]
        }
        ("BYTES" | "UINT8", raw) => {
            return Err(bad(format!("{} raw contents for one input", raw.len())));
        }
        (other, _) => {
            return Err(bad(format!(
                "datatype `{}`, `{INPUT}` is BYTES or UINT8",
                shorten(other)
            )));
        }
    };
    let found = if input.datatype == "UINT8" {
        frames[0].len()
    } else {
        frames.len()
    };
    if found != elements {
        return Err(bad(format!("{found} elements, the shape says {elements}")));
    }
    if frames.is_empty() || frames.len() > frames_max {
        return Err(bad(format!(
            "{} frames, allowed are 1 to {frames_max}",
            frames.len()
        )));
    }
    Ok(frames)
}

/// Elements of a shape of up to two dimensions.
fn element_count(shape: &[i64]) -> Result<usize, Status> {
    if shape.is_empty() || shape.len() > 2 {
        return Err(bad(format!(
            "shape of {} dimensions, allowed are 1 and 2",
            shape.len()
        )));
    }
    shape
        .iter()
        .try_fold(1_usize, |product, &size| {
            product.checked_mul(usize::try_from(size).ok()?)
        })
        .ok_or_else(|| bad(format!("shape {shape:?} has no size")))
}

/// Elements of a BYTES tensor in raw form: each has its length in four bytes before it.
fn split_elements(raw: &[u8], expected: usize, most: usize) -> Result<Vec<Vec<u8>>, Status> {
    let mut rest = raw;
    let mut elements = Vec::new();
    while !rest.is_empty() {
        if elements.len() >= most.min(expected) {
            return Err(bad(format!(
                "more elements than the shape ({expected}) or this edge ({most}) allows"
            )));
        }
        let Some((prefix, after)) = rest.split_first_chunk::<4>() else {
            return Err(bad("the raw contents end inside a length"));
        };
        let length = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > after.len() {
            return Err(bad(format!(
                "an element of {length} bytes, {} are left",
                after.len()
            )));
        }
        let (element, after) = after.split_at(length);
        elements.push(element.to_vec());
        rest = after;
    }
    Ok(elements)
}

/// The raw form of a BYTES tensor.
pub(crate) fn join_elements(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut raw = Vec::new();
    for element in elements {
        let length = u32::try_from(element.len()).expect("an element is bounded by its message");
        raw.extend_from_slice(&length.to_le_bytes());
        raw.extend_from_slice(element);
    }
    raw
}

/// A whole number of the request's parameters; unknown names are nobody's business.
pub(crate) fn whole_number(
    request: &ModelInferRequest,
    name: &'static str,
) -> Result<Option<u64>, Status> {
    let Some(InferParameter { parameter_choice }) = request.parameters.get(name) else {
        return Ok(None);
    };
    let number = match parameter_choice {
        Some(ParameterChoice::Int64Param(value)) => u64::try_from(*value).ok(),
        Some(ParameterChoice::Uint64Param(value)) => Some(*value),
        _ => None,
    };
    number.map(Some).ok_or_else(|| {
        bad(format!(
            "parameter `{name}` has to be a whole number from 0 up"
        ))
    })
}

/// A text of the request's parameters.
pub(crate) fn text<'a>(
    request: &'a ModelInferRequest,
    name: &'static str,
) -> Result<Option<&'a str>, Status> {
    match request
        .parameters
        .get(name)
        .map(|found| &found.parameter_choice)
    {
        None => Ok(None),
        Some(Some(ParameterChoice::StringParam(value))) => Ok(Some(value)),
        Some(_) => Err(bad(format!("parameter `{name}` has to be a text"))),
    }
}

pub(crate) fn bad(message: impl Into<String>) -> Status {
    Status::invalid_argument(message)
}

/// What a peer sent is quoted only so far.
pub(crate) fn shorten(text: &str) -> String {
    const MOST: usize = 64;
    text.chars().take(MOST).collect()
}
