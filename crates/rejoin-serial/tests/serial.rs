//! Conduits over serial ports: what a cable, a board and a person who pulls plugs do to them.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use common::{Side, connect, exchange, soon, source};
use rejoin_conformance::line::{Cable, Damage, End, Noise};
use rejoin_serial::{
    ControlLine, DataBits, FlowControl, LinkSource, Parity, SerialConfig, SerialError,
    SerialSource, Status, StopBits,
};
use rustix::termios::{ControlModes, tcgetattr};

#[tokio::test]
async fn messages_cross_both_ways_and_a_close_ends_both() {
    let cable = Cable::lay().unwrap();
    let (mut near, mut far) = session(&cable).await;
    exchange(&near.tx, &mut far.rx, 0..500).await;
    exchange(&far.tx, &mut near.rx, 0..500).await;
    soon(near.tx.close()).await.unwrap();
    assert!(soon(far.rx.recv()).await.unwrap().is_none());
    assert!(soon(near.rx.recv()).await.unwrap().is_none());
    assert_eq!((near.stats.get().opened, near.stats.get().line.links), (1, 1));
}

/// Each kind of damage, in each direction, costs a link and neither a message nor the port; and it
/// costs it at once, where the session alone would need its time-outs.
#[tokio::test]
async fn damage_costs_a_handshake_on_the_open_port() {
    let cable = Cable::lay().unwrap();
    let (mut near, mut far) = session(&cable).await;
    exchange(&near.tx, &mut far.rx, 0..10).await;
    let kinds = [
        Damage::Flip(0x40),
        Damage::Lose(1),
        Damage::Lose(500),
        Damage::Insert(vec![0x55]),
        Damage::Insert(b"a burst of noise \0 with a delimiter".repeat(100)),
        Damage::Break,
    ];
    for (round, damage) in (0..).zip(kinds) {
        for end in [End::Far, End::Near] {
            let links = near.stats.get().line.links;
            cable.damage(end, 100, damage.clone());
            let begun = Instant::now();
            let numbers = round * 100..(round + 1) * 100;
            match end {
                End::Far => exchange(&near.tx, &mut far.rx, numbers).await,
                End::Near => exchange(&far.tx, &mut near.rx, numbers).await,
            }
            // Well below the time after which a silent peer is pinged.
            assert!(begun.elapsed() < Duration::from_millis(1900), "{damage:?}");
            assert_eq!(near.stats.get().line.links, links + 1, "{damage:?} towards {end:?}");
        }
    }
    for side in [near, far] {
        assert_eq!(side.stats.get().opened, 1, "the port was not touched");
    }
}

#[tokio::test]
async fn steady_noise_loses_and_repeats_nothing() {
    let cable = Cable::lay().unwrap();
    let (mut near, mut far) = session(&cable).await;
    for (seed, end) in (5..).zip([End::Near, End::Far]) {
        cable.set_noise(end, Noise { byte_error_rate: 2e-4, seed });
    }
    let there = exchange(&near.tx, &mut far.rx, 0..1500);
    let back = exchange(&far.tx, &mut near.rx, 0..1500);
    tokio::join!(there, back);
    for side in [&near, &far] {
        let stats = side.stats.get();
        assert_eq!(stats.opened, 1);
        assert!(stats.line.damaged > 5, "the noise was there: {stats:?}");
    }
}

#[tokio::test]
async fn a_stale_half_frame_and_a_talking_boot_loader_are_skipped() {
    let cable = Cable::lay().unwrap();
    // Before anybody has the port open, and while they get there.
    cable.inject(End::Near, b"\x03half a frame of an earlier progr");
    cable.inject(End::Far, &b"U-Boot 2026.07\r\nHit any key to stop autoboot: 3\r\n".repeat(200));
    let (mut near, mut far) = session(&cable).await;
    exchange(&near.tx, &mut far.rx, 0..50).await;
    exchange(&far.tx, &mut near.rx, 0..50).await;
}

#[tokio::test]
async fn the_acceptor_says_nothing_to_a_board_that_boots() {
    let cable = Cable::lay().unwrap();
    let far = tokio::spawn(connect(source(&cable, End::Far), SerialConfig::default()));
    for _ in 0..20 {
        let carried = cable.carried(End::Far);
        cable.inject(End::Far, b"[    0.000000] Booting Linux\r\n");
        until(|| cable.carried(End::Far) > carried).await;
    }
    assert_eq!(cable.carried(End::Near), 0);
    let mut near = connect(source(&cable, End::Near), SerialConfig::default()).await;
    let far = soon(far).await.unwrap();
    exchange(&far.tx, &mut near.rx, 0..10).await;
}

#[tokio::test]
async fn a_plug_that_is_pulled_suspends_the_conduit_until_it_is_back() {
    let cable = Cable::lay().unwrap();
    let (mut near, mut far) = session(&cable).await;
    exchange(&near.tx, &mut far.rx, 0..50).await;
    for (round, end) in (1..).zip([End::Near, End::Far]) {
        cable.unplug(end);
        let tx = if end == End::Near { near.tx.clone() } else { far.tx.clone() };
        let mut status = tx.status();
        soon(status.wait_for(|status| matches!(status, Status::Suspended { .. }))).await.unwrap();
        cable.plug(end).unwrap();
        exchange(&near.tx, &mut far.rx, round * 50..(round + 1) * 50).await;
        exchange(&far.tx, &mut near.rx, round * 50..(round + 1) * 50).await;
    }
    assert_eq!((near.stats.get().opened, far.stats.get().opened), (2, 2));
}

#[tokio::test]
async fn either_end_may_be_there_first() {
    for first in [End::Near, End::Far] {
        let cable = Cable::lay().unwrap();
        let config = SerialConfig::default();
        let other = if first == End::Near { End::Far } else { End::Near };
        let waiting = tokio::spawn(connect(source(&cable, first), config.clone()));
        // It has its port open, and has called if that is its part.
        until(|| first == End::Far || cable.carried(End::Far) > 0).await;
        let mut second = connect(source(&cable, other), config.clone()).await;
        let first = soon(waiting).await.unwrap();
        exchange(&first.tx, &mut second.rx, 0..10).await;
    }
}

/// A program that is started again finds the line as the one before has left it, and its peer in the
/// middle of a session that is over.
#[tokio::test]
async fn both_ends_may_be_restarted_in_any_order() {
    let cable = Cable::lay().unwrap();
    let config = SerialConfig::default();
    let (mut near, mut far) = session(&cable).await;
    for round in 0..4 {
        exchange(&near.tx, &mut far.rx, 0..20).await;
        let again = if round % 2 == 0 { End::Near } else { End::Far };
        if again == End::Near {
            drop(near);
            drop(far);
            (near, far) = session(&cable).await;
        } else {
            // The initiator is left with a session that nobody knows; it is told so at once.
            drop(far);
            let restarted = tokio::spawn(connect(source(&cable, End::Far), config.clone()));
            let mut status = near.tx.status();
            let _ = near.tx.send(&&b"to whom it may concern"[..]).await;
            soon(status.wait_for(Status::is_final)).await.unwrap();
            near = connect(source(&cable, End::Near), config.clone()).await;
            far = soon(restarted).await.unwrap();
        }
    }
}

#[tokio::test]
async fn every_setting_of_the_line_reaches_the_port() {
    let cable = Cable::lay().unwrap();
    let mut config = SerialConfig::new(57_600);
    config.parity = Parity::Even;
    config.stop_bits = StopBits::Two;
    config.flow_control = FlowControl::Hardware;
    let port = witness(&cable, End::Far);
    let _source = opened(source(&cable, End::Far).with_config(config)).await;
    let settings = tcgetattr(&port).unwrap();
    assert_eq!((settings.input_speed(), settings.output_speed()), (57_600, 57_600));
    // A pseudo-terminal does without the parity bit, whatever it is told.
    assert!(settings.control_modes.contains(ControlModes::CSTOPB | ControlModes::CRTSCTS));
}

/// The system remembers what the program before has wanted.
#[tokio::test]
async fn what_a_close_does_to_the_lines_is_as_wanted_whoever_had_the_port_before() {
    let cable = Cable::lay().unwrap();
    let port = witness(&cable, End::Far);
    for wanted in [false, true, false] {
        let mut config = SerialConfig::default();
        config.hang_up_on_close = wanted;
        let _source = opened(source(&cable, End::Far).with_config(config)).await;
        let modes = tcgetattr(&port).unwrap().control_modes;
        assert_eq!(modes.contains(ControlModes::HUPCL), wanted);
    }
}

/// The last close of a port tells whatever is at its other end that nobody is there any more: a
/// program that bridges a pseudo-terminal may take that for the end.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_port_is_not_closed_while_it_is_being_opened() {
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

    let cable = Cable::lay().unwrap();
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    let closed = WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE;
    inotify::add_watch(&watch, cable.port(End::Far), WatchFlags::OPEN | closed).unwrap();
    let _source = opened(source(&cable, End::Far)).await;

    let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
    let mut events = inotify::Reader::new(watch, &mut buffer);
    let mut seen = Vec::new();
    while let Ok(event) = events.next() {
        seen.push(event.events());
    }
    assert!(seen.contains(&ReadFlags::OPEN), "{seen:?}");
    let is_close = |event: &ReadFlags| *event != ReadFlags::OPEN;
    let after_a_close = seen.iter().skip_while(|event| !is_close(event));
    assert!(after_a_close.clone().all(is_close), "opened again after a close: {seen:?}");
}

#[tokio::test]
async fn a_port_without_control_lines_is_used_as_it_is() {
    let cable = Cable::lay().unwrap();
    let mut config = SerialConfig::default();
    config.dtr = ControlLine::Pulse(Duration::from_millis(5));
    config.rts = ControlLine::Release;
    let near = connect(source(&cable, End::Near), config.clone());
    let far = connect(source(&cable, End::Far), SerialConfig::default());
    let (near, mut far) = soon(async { tokio::join!(near, far) }).await;
    exchange(&near.tx, &mut far.rx, 0..10).await;
}

#[tokio::test]
async fn software_flow_control_does_not_swallow_what_is_sent() {
    let cable = Cable::lay().unwrap();
    let mut config = SerialConfig::default();
    config.flow_control = FlowControl::Software;
    let near = connect(source(&cable, End::Near), config.clone());
    let far = connect(source(&cable, End::Far), config.clone());
    let (near, mut far) = soon(async { tokio::join!(near, far) }).await;
    let message = bytes::Bytes::from([0x11, 0x13, 0x7d, 0, 0x31].repeat(100));
    for _ in 0..20 {
        near.tx.send(&&message[..]).await.unwrap();
        let received = soon(far.rx.recv()).await.unwrap().unwrap();
        assert_eq!(*received.get(), &message[..]);
    }
    assert_eq!(near.stats.get().line.links, 1);
}

#[tokio::test]
async fn errors_tell_what_may_heal_from_what_cannot() {
    let mut config = SerialConfig::default();
    config.port_wait = Duration::ZERO;
    let cable = Cable::lay().unwrap();
    let missing = cable.folder().join("not plugged in");
    let mut source = SerialSource::new(missing).with_config(config.clone());
    let error = source.next_link().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(!source.is_fatal(&error), "it may be plugged in: {error}");

    config.data_bits = DataBits::Seven;
    let mut source = SerialSource::new(cable.port(End::Near)).with_config(config);
    for _ in 0..2 {
        let error = source.next_link().await.unwrap_err();
        assert!(source.is_fatal(&error), "{error}");
        let inner = error.get_ref().unwrap().downcast_ref::<SerialError>();
        assert!(matches!(inner, Some(SerialError::Settings { .. })));
    }

    // What is no terminal never becomes one, and so is not waited for.
    let file = cable.folder().join("a file");
    std::fs::write(&file, "no port").unwrap();
    for path in ["/dev/null".as_ref(), file.as_path(), cable.folder()] {
        let mut config = SerialConfig::default();
        config.port_wait = Duration::from_secs(3600);
        let mut source = SerialSource::new(path).with_config(config);
        let error = soon(source.next_link()).await.unwrap_err();
        assert!(source.is_fatal(&error), "{}: {error:?}", path.display());
    }
}

#[tokio::test]
async fn two_callers_on_one_cable_are_told_so() {
    let cable = Cable::lay().unwrap();
    let (mut one, mut other) =
        (SerialSource::new(cable.port(End::Near)), SerialSource::new(cable.port(End::Far)));
    let heard = async {
        tokio::select! {
            called = one.next_link() => called,
            called = other.next_link() => called,
        }
    };
    let error = soon(heard).await.unwrap_err();
    assert!(error.to_string().contains("has to be the acceptor"), "{error}");
    assert!(!one.is_fatal(&error), "the other one may be set up anew");
}

/// The source, once it has its port open.
async fn opened(mut source: SerialSource) -> SerialSource {
    let stats = source.stats_handle();
    tokio::select! {
        called = source.next_link() => panic!("nobody calls: {called:?}"),
        () = until(|| stats.get().opened == 1) => {}
    }
    source
}

/// A port that was opened before the source opens it for itself alone, to look at its settings.
fn witness(cable: &Cable, end: End) -> OwnedFd {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    rustix::fs::open(cable.port(end), flags, rustix::fs::Mode::empty()).unwrap()
}

/// Looks again and again until `condition` holds.
async fn until(mut condition: impl FnMut() -> bool) {
    soon(async {
        let mut looks = tokio::time::interval(Duration::from_millis(1));
        while !condition() {
            looks.tick().await;
        }
    })
    .await;
}

/// Both ends of a session over `cable`.
async fn session(cable: &Cable) -> (Side, Side) {
    let near = connect(source(cable, End::Near), SerialConfig::default());
    let far = connect(source(cable, End::Far), SerialConfig::default());
    soon(async { tokio::join!(near, far) }).await
}
