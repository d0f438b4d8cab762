//! How much of a noisy serial line reaches the application: messages one way over a cable of
//! pseudo-terminals that keeps the line's pace, with random noise in both directions. The goodput
//! counts the bytes of messages only, and is set against all that the line could carry.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use rejoin_conformance::line::{Cable, End, Noise};
use rejoin_serial::{Raw, SerialConfig, SerialSource, StableConduit, StableRx, StableTx};

use crate::Failure;
use crate::content::{Messages, stamp};
use crate::endpoints::two_workers;
use crate::measure::{Case, Effort, Goal, Round};

const BYTES: usize = 64;
const BAUD_RATE: u32 = 115_200;
const BYTE_ERROR_RATE: f64 = 1e-5;
const SEED: u64 = 1;

pub(super) fn case() -> Case {
    let what = ("serial, 115 200 baud, one byte in 10⁵ harmed", BYTES, "bytes/s");
    Case::new(what, Goal::RatioAtLeast(0.80), |effort| two_workers()?.block_on(goodput(effort)))
        .once()
}

async fn goodput(effort: Effort) -> Result<Round, Failure> {
    // Left out of the measurement: until the log and the line are full.
    let warm_up = Duration::from_millis(effort.choose(2_000, 2_000, 100));
    let time = Duration::from_millis(effort.choose(60_000, 20_000, 200));
    let bytes_per_second = BAUD_RATE / 10;
    let cable = Cable::lay()?;
    cable.set_rate(NonZeroU32::new(bytes_per_second));
    for (end, seed) in [(End::Near, SEED), (End::Far, SEED + 1)] {
        cable.set_noise(end, Noise { byte_error_rate: BYTE_ERROR_RATE, seed });
    }
    let near = connect(SerialSource::new(cable.port(End::Near)));
    let far = connect(SerialSource::new(cable.port(End::Far)).accepting());
    let ((tx, _near_rx), (_far_tx, mut rx)) = tokio::try_join!(near, far)?;

    let messages = Messages { count: u64::MAX, bytes: BYTES };
    tokio::spawn(async move {
        let mut message = messages.blank();
        for number in 0..messages.count {
            stamp(&mut message, number);
            if tx.send(&&message[..]).await.is_err() {
                return;
            }
        }
    });
    let mut expected = 0;
    receive_for(&mut rx, messages, &mut expected, warm_up).await?;
    let before = expected;
    let elapsed = receive_for(&mut rx, messages, &mut expected, time).await?;
    let bytes = (expected - before) * BYTES as u64;
    let goodput = bytes as f64 / elapsed.as_secs_f64();
    Ok(Round { ours: goodput, baseline: Some(f64::from(bytes_per_second)) })
}

async fn connect(source: SerialSource) -> Result<(StableTx<Raw>, StableRx<Raw>), Failure> {
    let config = SerialConfig::new(BAUD_RATE);
    let stable = config.stable_config();
    let source = source.with_config(config);
    Ok(StableConduit::<Raw>::connect_with(source, stable).await?.split())
}

/// Receives for so long, and checks that nothing is missing, repeated or wrong.
async fn receive_for(
    rx: &mut StableRx<Raw>,
    messages: Messages,
    expected: &mut u64,
    time: Duration,
) -> Result<Duration, Failure> {
    let begun = Instant::now();
    loop {
        let Some(left) = time.checked_sub(begun.elapsed()) else { return Ok(begun.elapsed()) };
        let Ok(received) = tokio::time::timeout(left, rx.recv()).await else {
            return Ok(begun.elapsed());
        };
        let message = received?.ok_or("the peer closed")?;
        messages.check(*expected, message.get())?;
        *expected += 1;
    }
}
