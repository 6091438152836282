//! The one list of routes, and what all handlers share.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use protocol::at_rest::AtRestKeys;
use protocol::hop::SEALED_RECORDS_PATH;
use sqlx::PgPool;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::error;

use crate::auth::Authenticator;
use crate::clock::{Clock, unix_seconds};
use crate::config::Config;
use crate::db::{ROUND_TRIP_GRACE, connect_staff};
use crate::error::AppError;
use crate::health::Readiness;
use crate::hop::{HopGuard, require_proxied_hop};
use crate::ingest::batch::{Batcher, EventQueue};
use crate::jobs::{Context, Jobs};
use crate::master_data::MasterData;
use crate::metrics::Metrics;
use crate::pancake::client::PancakeClient;
use crate::processing::{Processor, Wake};
use crate::unread::leave_nothing;
use crate::{health, ingest, master_data, metrics, region, staff_api, telemetry};

/// What all handlers share.
pub struct App {
    pub(crate) config: Config,
    pub(crate) guard: HopGuard,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pool: PgPool,
    /// Beside `pool`.
    pub(crate) staff: PgPool,
    /// As `core_editor`; none in a region that is not the hub.
    pub(crate) editors: Option<PgPool>,
    pub(crate) authenticator: Option<Arc<Authenticator>>,
    /// By which secrets lie in the database; without them none is taken.
    pub(crate) at_rest: Option<Arc<AtRestKeys>>,
    pub(crate) events: EventQueue,
    pub(crate) wake: Wake,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Readiness,
    pub(crate) master_data: MasterData,
}

/// The handle by which handlers hold [`App`].
pub type SharedApp = Arc<App>;

impl App {
    /// Puts the parts together, starts what keeps master data and the tokens' keys up to date, and the
    /// batcher, which the caller ends with [`Batcher::drain`] once no request is under way. Without
    /// `editors` or `authenticator` nobody writes master data here.
    #[must_use]
    pub fn start(
        config: Config,
        guard: HopGuard,
        pool: PgPool,
        editors: Option<PgPool>,
        authenticator: Option<Authenticator>,
        at_rest: Option<AtRestKeys>,
        clock: Arc<dyn Clock>,
    ) -> (SharedApp, Batcher) {
        let metrics = Arc::new(Metrics::new());
        let wake = Wake::default();
        let (events, batcher) = Batcher::start(
            config.ingest.clone(),
            config.database.statement_timeout,
            guard.region().clone(),
            pool.clone(),
            Arc::clone(&metrics),
            wake.clone(),
        );
        let master_data = MasterData::start(&config, &pool, Arc::clone(&metrics));
        let staff = connect_staff(&pool, &config.database);
        let authenticator = authenticator.map(Arc::new);
        if let Some(authenticator) = authenticator.clone() {
            let now = unix_seconds(clock.now());
            tokio::spawn(async move { authenticator.refresh(now).await });
        }
        let app = Self {
            config,
            guard,
            clock,
            pool,
            staff,
            editors,
            authenticator,
            at_rest: at_rest.map(Arc::new),
            events,
            wake,
            metrics,
            readiness: Readiness::default(),
            master_data,
        };
        (Arc::new(app), batcher)
    }

    /// Starts to process events; the caller ends it with [`Processor::stop`].
    #[must_use]
    pub fn start_processing(&self) -> Processor {
        Processor::start(
            self.pool.clone(),
            self.config.countries.iter().copied().collect(),
            self.config.processing.clone(),
            self.config.database.statement_timeout,
            Arc::clone(&self.metrics),
            self.wake.clone(),
        )
    }

    /// Starts the jobs that are done on a schedule; the caller ends them with [`Jobs::stop`].
    #[must_use]
    pub fn start_jobs(&self) -> Jobs {
        Jobs::start(Context {
            pool: self.pool.clone(),
            region: self.guard.region().clone(),
            countries: self.config.countries.iter().copied().collect(),
            client: PancakeClient::new(&self.config.pancake, Arc::clone(&self.metrics)),
            at_rest: self.at_rest.clone(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            wake: self.wake.clone(),
            limits: self.config.jobs.clone(),
            zones: self.master_data.zones(),
            retention_days: self.config.processing.retention_days.get(),
            patience: self.config.database.statement_timeout + ROUND_TRIP_GRACE,
        })
    }

    /// The connections for staff, which the caller closes at the end.
    #[must_use]
    pub fn staff_pool(&self) -> &PgPool {
        &self.staff
    }

    /// From now on `/readyz` answers 503, so that no new traffic is sent here.
    pub fn announce_shutdown(&self) {
        self.readiness.announce_shutdown();
    }
}

/// All routes.
pub fn router(app: &SharedApp) -> Router {
    // Whatever is under /api/ came through the edge, or it is refused before anything else is said. Of /v1/ the
    // edge lets nothing through: who asks there has the hop's secret.
    let proxied = Router::new()
        .route("/api/region", get(region::show))
        .route("/v1/keys", get(region::show_keys))
        .route("/api/", any(not_found))
        .route("/api/{*rest}", any(not_found))
        .merge(staff_api::proxied_router())
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(app), require_proxied_hop));
    Router::new()
        .route(
            "/v1/pancake/{connection}/records",
            post(ingest::handler::receive),
        )
        .route(SEALED_RECORDS_PATH, post(ingest::handler::receive_sealed))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::expose))
        .merge(master_data::router())
        .merge(staff_api::router())
        .method_not_allowed_fallback(method_not_allowed)
        .merge(proxied)
        .fallback(not_found)
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(from_fn(telemetry::follow_trace))
        .layer(from_fn(leave_nothing))
        .with_state(Arc::clone(app))
}

async fn not_found() -> AppError {
    AppError::NotFound
}

async fn method_not_allowed() -> AppError {
    AppError::MethodNotAllowed
}

/// A panic is a bug of ours: one request's answer, not the process's end. The panic hook has already
/// logged where it was.
fn answer_panic(_payload: Box<dyn Any + Send>) -> Response {
    error!("a handler panicked");
    AppError::Internal.into_response()
}
