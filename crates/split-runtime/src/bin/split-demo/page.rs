//! The page and what it asks for.
//!
//! `/` is the page; `/model` and `/controls` are JSON, the latter to be set by POST; `/answers/N` waits
//! for answers from number N on and gives them as a JSON list; `/pictures/N` is a picture's file.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::album::Shown;
use crate::config::Served;
use crate::controls::{Controls, DEADLINE_MS, KBIT, PER_MINUTE, RTT_MS};
use crate::link::LinkState;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page asks nobody but us, and nobody else may frame it.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers that are kept for pages: as many as they show.
const KEPT: usize = 60;

/// Longest that a page waits for an answer before it is told that there is none.
const WAIT: Duration = Duration::from_secs(10);

/// What pages and player share.
pub(crate) struct Stage {
    pub(crate) album: Vec<Shown>,
    controls: watch::Sender<Controls>,
    link: watch::Sender<LinkState>,
    note: Value,
    rungs: Vec<String>,
    told: watch::Sender<Told>,
}

/// The last answers.
#[derive(Default)]
struct Told {
    /// Number of the answer that comes next.
    next: u64,
    last: VecDeque<Value>,
}

impl Stage {
    pub(crate) fn new(controls: Controls, album: Vec<Shown>, served: &Served) -> Self {
        Self {
            album,
            link: watch::Sender::new(controls.link),
            controls: watch::Sender::new(controls),
            note: served.note(),
            rungs: served.names(),
            told: watch::Sender::default(),
        }
    }

    /// The controls now and whenever they change.
    pub(crate) fn changes(&self) -> watch::Receiver<Controls> {
        self.controls.subscribe()
    }

    /// The link now and whenever it changes.
    pub(crate) fn link(&self) -> watch::Receiver<LinkState> {
        self.link.subscribe()
    }

    /// Shows an answer on all pages, under the next number.
    pub(crate) fn tell(&self, mut answer: Value) {
        self.told.send_modify(|told| {
            answer["number"] = json!(told.next);
            told.next += 1;
            told.last.push_back(answer);
            if told.last.len() > KEPT {
                told.last.pop_front();
            }
        });
    }
}

/// Serves pages until the listener fails.
pub(crate) async fn serve(listener: TcpListener, stage: Arc<Stage>) -> Result<()> {
    let text = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
    };
    let router = Router::new()
        .route("/", get(page))
        .route("/page.css", text("text/css; charset=utf-8", STYLE))
        .route("/page.js", text("text/javascript; charset=utf-8", SCRIPT))
        .route("/model", get(model))
        .route("/controls", get(controls).post(set_controls))
        .route("/answers/{from}", get(answers))
        .route("/pictures/{place}", get(picture))
        .with_state(stage);
    axum::serve(listener, router).await.context("the page")
}

async fn page() -> impl IntoResponse {
    let policy = HeaderName::from_static("content-security-policy");
    ([(policy, POLICY)], Html(PAGE))
}

async fn model(State(stage): State<Arc<Stage>>) -> Json<Value> {
    let mut note = stage.note.clone();
    note["policies"] = json!(crate::program::allowed::POLICIES);
    note["ranges"] = json!({
        "kbit": KBIT,
        "rtt_ms": RTT_MS,
        "deadline_ms": DEADLINE_MS,
        "per_minute": PER_MINUTE,
    });
    Json(note)
}

async fn controls(State(stage): State<Arc<Stage>>) -> Json<Controls> {
    Json(stage.controls.borrow().clone())
}

async fn set_controls(State(stage): State<Arc<Stage>>, Json(wanted): Json<Controls>) -> Response {
    if let Err(error) = wanted.check(&stage.rungs) {
        return (StatusCode::UNPROCESSABLE_ENTITY, format!("{error}\n")).into_response();
    }
    stage.link.send_replace(wanted.link);
    stage.controls.send_replace(wanted.clone());
    Json(wanted).into_response()
}

async fn answers(State(stage): State<Arc<Stage>>, Path(from): Path<u64>) -> Json<Value> {
    let mut told = stage.told.subscribe();
    // A page of an earlier demo counts on from that one.
    let from = if from > told.borrow().next { 0 } else { from };
    let newer = tokio::time::timeout(WAIT, told.wait_for(|told| told.next > from)).await;
    let Ok(Ok(told)) = newer else {
        return Json(json!([]));
    };
    let new = usize::try_from(told.next - from).unwrap_or(usize::MAX);
    let known = told.last.len().saturating_sub(new);
    Json(told.last.iter().skip(known).cloned().collect())
}

async fn picture(State(stage): State<Arc<Stage>>, Path(place): Path<usize>) -> Response {
    let Some(shown) = stage.album.get(place) else {
        return (StatusCode::NOT_FOUND, "no such picture\n").into_response();
    };
    let kind = match shown.path.extension().and_then(|end| end.to_str()) {
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        _ => "image/jpeg",
    };
    // Small, and from this machine's own disk.
    match std::fs::read(&shown.path) {
        Ok(bytes) => ([(header::CONTENT_TYPE, kind)], bytes).into_response(),
        Err(error) => (StatusCode::NOT_FOUND, format!("{error}\n")).into_response(),
    }
}
