//! A terminal whose screen is redrawn with each round, and is what it was when that ends.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Read as _, Stdout, Write as _};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use infra::status;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

use super::{Watch, ask_all};

/// Of the findings so many are shown, that a screen of 24 lines holds them.
const FINDINGS_MAX: usize = 8;

const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Ctrl-C, as a terminal says it that makes no signal of it.
const CTRL_C: u8 = 3;

enum Event {
    Drawn(String),
    Quit,
}

/// Ends on `q`, Ctrl-C, or a signal to end, whatever is under way: nobody waits for an answer that nobody will see.
pub(super) fn show(watch: Watch, every: Duration, in_colour: bool) -> Result<(), String> {
    let (sender, events) = mpsc::channel();
    // Before the screen is another one: a signal from here on restores it.
    listen_for_signals(sender.clone())?;
    let mut screen = Screen::enter();
    if std::io::stdin().is_terminal() {
        let keys = sender.clone();
        thread::spawn(move || listen_for_keys(&keys));
    }
    screen.draw("asking all regions …\n");
    // The next round begins when this one has ended, so no two are ever under way.
    thread::spawn(move || {
        loop {
            let began = Instant::now();
            let drawn = round(&watch, every, in_colour);
            if sender.send(Event::Drawn(drawn)).is_err() {
                return;
            }
            thread::sleep(every.saturating_sub(began.elapsed()));
        }
    });
    while let Ok(Event::Drawn(text)) = events.recv() {
        screen.draw(&text);
    }
    Ok(())
}

/// What is to be drawn. A file that cannot be read now may be mended the next time.
fn round(watch: &Watch, every: Duration, in_colour: bool) -> String {
    let shown = match ask_all(&watch.place) {
        Ok((round, status)) => {
            status::screen(&status, &round.facts(), in_colour, Some(FINDINGS_MAX))
        }
        Err(mistake) => format!("smpctl: {mistake}\n"),
    };
    format!("{shown}every {} s; q ends\n", every.as_secs())
}

fn listen_for_keys(sender: &Sender<Event>) {
    let mut byte = [0];
    // Its end is that of the terminal.
    while matches!(std::io::stdin().read(&mut byte), Ok(1)) {
        if matches!(byte, [b'q' | b'Q' | CTRL_C]) {
            break;
        }
    }
    let _ = sender.send(Event::Quit);
}

fn listen_for_signals(sender: Sender<Event>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let (mut interrupt, mut terminate, mut hang_up) = {
        let _in_runtime = runtime.enter();
        let on = |kind| signal(kind).map_err(|error| error.to_string());
        (
            on(SignalKind::interrupt())?,
            on(SignalKind::terminate())?,
            on(SignalKind::hangup())?,
        )
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        });
        let _ = sender.send(Event::Quit);
    });
    Ok(())
}

/// The terminal's other screen, for as long as this lives.
struct Screen {
    terminal: Stdout,
    /// How the terminal took keys before.
    before: Option<Termios>,
}

impl Screen {
    fn enter() -> Self {
        // Each key as it is pressed, unseen; without a terminal there are none.
        let before = tcgetattr(std::io::stdin()).ok();
        if let Some(mut keys) = before.clone() {
            keys.local_flags
                .remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &keys);
        }
        let terminal = std::io::stdout();
        let mut screen = Self { terminal, before };
        screen.write(ENTER);
        screen
    }

    /// Line by line in its own place: what a low window has no room for scrolls nothing away.
    fn draw(&mut self, text: &str) {
        let mut drawn = String::new();
        for (above, line) in text.lines().enumerate() {
            let _ = write!(drawn, "\x1b[{};1H{line}\x1b[K", above + 1);
        }
        self.write(&format!("{drawn}\x1b[J"));
    }

    /// Who cannot be written to has gone, and a signal or the end of its keys says so.
    fn write(&mut self, text: &str) {
        let _ = self.terminal.write_all(text.as_bytes());
        let _ = self.terminal.flush();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.write(LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
