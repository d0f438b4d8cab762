//! How much of a noisy serial line reaches the application: messages of 64 bytes one way over a
//! cable of pseudo-terminals that keeps the line's pace, with random noise in both directions.
//!
//! `serial_goodput [BAUD] [BYTE_ERROR_RATE] [SECONDS] [SEED]` prints one line of JSON. The goodput
//! counts the bytes of messages only, and is set against all that the line could carry.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use rejoin_conformance::line::{Cable, End, Noise};
use rejoin_serial::{
    Raw, SerialConfig, SerialSource, SerialStatsHandle, StableConduit, StableRx, StableTx,
};

const MESSAGE_BYTES: usize = 64;
/// Left out of the measurement: until the log and the line are full.
const WARM_UP: Duration = Duration::from_secs(2);

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Options {
    baud_rate: u32,
    byte_error_rate: f64,
    time: Duration,
    seed: u64,
}

impl Options {
    fn from_args() -> Result<Self, Failure> {
        let mut args = std::env::args().skip(1);
        let mut next = |default: &str| args.next().unwrap_or_else(|| default.to_owned());
        Ok(Self {
            baud_rate: next("115200").parse()?,
            byte_error_rate: next("1e-5").parse()?,
            time: Duration::from_secs(next("60").parse()?),
            seed: next("1").parse()?,
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let options = Options::from_args()?;
    let bytes_per_second = options.baud_rate / 10;
    let cable = Cable::lay()?;
    cable.set_rate(NonZeroU32::new(bytes_per_second));
    for (end, seed) in [(End::Near, options.seed), (End::Far, options.seed + 1)] {
        cable.set_noise(end, Noise { byte_error_rate: options.byte_error_rate, seed });
    }
    let near = connect(SerialSource::new(cable.port(End::Near)), options.baud_rate);
    let far = connect(SerialSource::new(cable.port(End::Far)).accepting(), options.baud_rate);
    let ((tx, _near_rx, near_stats), (_far_tx, mut rx, far_stats)) = tokio::try_join!(near, far)?;

    tokio::spawn(async move {
        for number in 0_u64.. {
            let mut message = [0x5a; MESSAGE_BYTES];
            message[..8].copy_from_slice(&number.to_le_bytes());
            if tx.send(&&message[..]).await.is_err() {
                return;
            }
        }
    });

    let mut expected = 0_u64;
    receive_for(&mut rx, &mut expected, WARM_UP).await?;
    let before = expected;
    let elapsed = receive_for(&mut rx, &mut expected, options.time).await?;
    let messages = expected - before;

    let goodput = messages as f64 * MESSAGE_BYTES as f64 / elapsed.as_secs_f64();
    let (near, far) = (near_stats.get(), far_stats.get());
    println!(
        "{{\"case\":\"serial_goodput\",\"baud\":{},\"byte_error_rate\":{},\"message_bytes\":{},\
         \"seconds\":{:.1},\"messages\":{messages},\"goodput_bytes_per_second\":{goodput:.0},\
         \"goodput_ratio\":{:.4},\"links\":{},\"damaged\":{},\"ports_opened\":{}}}",
        options.baud_rate,
        options.byte_error_rate,
        MESSAGE_BYTES,
        elapsed.as_secs_f64(),
        goodput / f64::from(bytes_per_second),
        near.line.links,
        near.line.damaged + far.line.damaged,
        near.opened + far.opened,
    );
    Ok(())
}

async fn connect(
    source: SerialSource,
    baud_rate: u32,
) -> Result<(StableTx<Raw>, StableRx<Raw>, SerialStatsHandle), Failure> {
    let config = SerialConfig::new(baud_rate);
    let stable = config.stable_config();
    let source = source.with_config(config);
    let stats = source.stats_handle();
    let (tx, rx) = StableConduit::<Raw>::connect_with(source, stable).await?.split();
    Ok((tx, rx, stats))
}

/// Receives for so long, and checks that nothing is missing, repeated or wrong.
async fn receive_for(
    rx: &mut StableRx<Raw>,
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
        let (number, rest) = message.as_bytes().split_first_chunk().ok_or("a short message")?;
        if u64::from_le_bytes(*number) != *expected || rest != [0x5a; MESSAGE_BYTES - 8] {
            return Err(format!("message {expected} is not what was sent").into());
        }
        *expected += 1;
    }
}
