//! A connection that is closed when the client does not read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes that a client must accept within one time-out while more are waiting: a client that reads a few bytes from time
/// to time occupies a connection as well as one that reads none.
pub(super) const PROGRESS_MIN: usize = 16 * 1024;

/// What happened on a connection, for the log.
#[derive(Debug, Default)]
pub(super) struct StreamState {
    /// Closed because the client did not read.
    stalled: AtomicBool,
    /// Bytes were received since the last ones were sent.
    received: AtomicBool,
}

impl StreamState {
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Starts again with nothing received.
    pub(super) fn forget_received(&self) {
        self.received.store(false, Ordering::Relaxed);
    }

    pub(super) fn has_received(&self) -> bool {
        self.received.load(Ordering::Relaxed)
    }
}

/// Fails writes with [`io::ErrorKind::TimedOut`] when fewer than [`PROGRESS_MIN`] bytes were accepted within `timeout`
/// although more were waiting all the time.
pub(super) struct ProgressStream<S> {
    inner: S,
    timeout: Duration,
    state: Arc<StreamState>,
    /// Called when a write times out.
    on_stall: fn(&S),
    window: Option<ProgressWindow>,
    /// Whether the last write was not accepted.
    is_blocked: bool,
    /// Allocated with the first write that is not accepted.
    sleep: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy)]
struct ProgressWindow {
    end: Instant,
    accepted: usize,
}

impl<S> ProgressStream<S> {
    pub(super) fn new(
        inner: S,
        timeout: Duration,
        state: Arc<StreamState>,
        on_stall: fn(&S),
    ) -> Self {
        Self {
            inner,
            timeout,
            state,
            on_stall,
            window: None,
            is_blocked: false,
            sleep: None,
        }
    }

    /// Passes on the result of a write, unless it has been pending for too long.
    fn check_progress(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            self.is_blocked = false;
            if let (Ok(bytes), Some(window)) = (&written, &mut self.window) {
                window.accepted += bytes;
            }
            self.state.received.store(false, Ordering::Relaxed);
            return Poll::Ready(written);
        }
        loop {
            let now = Instant::now();
            let window = match self.window {
                Some(window) if self.is_blocked || now < window.end => window,
                // Nothing was waiting when the last window ended.
                _ => self.begin_window(now),
            };
            self.is_blocked = true;
            let sleep = self
                .sleep
                .get_or_insert_with(|| Box::pin(sleep_until(window.end)));
            ready!(sleep.as_mut().poll(context));
            if window.accepted < PROGRESS_MIN {
                self.state.stalled.store(true, Ordering::Relaxed);
                (self.on_stall)(&self.inner);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.window = None;
        }
    }

    fn begin_window(&mut self, now: Instant) -> ProgressWindow {
        let window = ProgressWindow {
            end: now + self.timeout,
            accepted: 0,
        };
        if let Some(sleep) = &mut self.sleep {
            sleep.as_mut().reset(window.end);
        }
        self.window = Some(window);
        window
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ProgressStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.state.received.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ProgressStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.check_progress(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.check_progress(context, written)
    }

    /// Without vectored writes hyper copies bodies into a buffer of each connection.
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    /// A stream that holds 1 kB unread, and the client's end.
    fn stream() -> (ProgressStream<DuplexStream>, DuplexStream) {
        let (server, client) = duplex(1024);
        let stream = ProgressStream::new(server, TIMEOUT, Arc::default(), |_| {});
        (stream, client)
    }

    /// Writes 1 MB while the client reads `bytes` every 0.7 s; the result, and how long it took.
    async fn transfer(bytes: usize) -> (io::Result<()>, Duration) {
        let (mut stream, mut client) = stream();
        let start = Instant::now();
        let read = async {
            let mut buffer = vec![0; bytes];
            let mut ticks = tokio::time::interval(Duration::from_millis(700));
            loop {
                ticks.tick().await;
                if bytes > 0 {
                    client.read_exact(&mut buffer).await.unwrap();
                }
            }
        };
        let data = vec![0; 1_000_000];
        tokio::select! {
            written = stream.write_all(&data) => (written, start.elapsed()),
            () = read => unreachable!("the client reads forever"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_reads_is_closed_after_the_time_out() {
        let (written, elapsed) = transfer(0).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(elapsed >= TIMEOUT && elapsed < TIMEOUT * 2, "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_slowly_is_closed() {
        let (written, elapsed) = transfer(1_000).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(elapsed < TIMEOUT * 3, "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_at_the_minimum_rate_gets_everything() {
        let (written, elapsed) = transfer(PROGRESS_MIN / 5).await;
        written.unwrap();
        assert!(elapsed > TIMEOUT * 10, "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn time_without_anything_to_send_does_not_count() {
        let (mut stream, mut client) = stream();
        let mut buffer = [0; 4096];
        for _ in 0..5 {
            let (written, read) =
                tokio::join!(stream.write_all(&[1; 4096]), client.read_exact(&mut buffer));
            written.unwrap();
            read.unwrap();
            tokio::time::advance(TIMEOUT * 3).await;
        }
    }
}
