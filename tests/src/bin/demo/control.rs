//! The same commands by HTTP, for browser tests: `POST /TOKEN` with a command as the body.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use rand::Rng;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::command;
use crate::environment::DemoEnvironment;

/// The listener and its secret.
pub(crate) struct ControlServer {
    listener: TcpListener,
    address: String,
    router: Router,
}

#[derive(Clone)]
struct ControlContext {
    demo: Arc<DemoEnvironment>,
    quit: CancellationToken,
}

impl ControlServer {
    pub(crate) async fn open(demo: Arc<DemoEnvironment>, quit: CancellationToken) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        // Web pages of other origins can send here, too; they cannot know the path.
        let path = format!("/{:032x}", rand::rng().random::<u128>());
        let address = format!("http://{}{path}", listener.local_addr()?);
        let router = Router::new()
            .route(&path, post(receive))
            .with_state(ControlContext { demo, quit });
        Ok(Self {
            listener,
            address,
            router,
        })
    }

    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    pub(crate) async fn serve(self) {
        axum::serve(self.listener, self.router).await.ok();
    }
}

async fn receive(State(context): State<ControlContext>, line: String) -> (StatusCode, String) {
    match command::execute(&context.demo, &line, &context.quit).await {
        Ok(answer) => (StatusCode::OK, answer),
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{error:#}")),
    }
}
