//! The thread of a pipe: gathers records into messages, sends them, tries again, and answers who waits for a flush.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::{Load, MESSAGE_BYTES, Outlet, Plan, record_len};
use crate::export::answer::Answer;
use crate::export::backoff::Backoff;
use crate::export::thread::Work;
use crate::process::concurrency::SyncSender;
use crate::stats::Counter;

/// What the thread is told.
pub enum Command {
    /// Send this record, which has its place in the queue.
    Export(Vec<u8>),
    /// Answer when all that came before is dealt with.
    Flush(SyncSender<()>),
    /// The same, and end.
    Shutdown(SyncSender<()>),
}

/// The thread's own state.
pub struct Worker<O> {
    commands: mpsc::UnboundedReceiver<Command>,
    outlet: O,
    plan: Plan,
    load: Arc<Load>,
    pending: VecDeque<Vec<u8>>,
    /// Records and bytes of the message that is being sent.
    in_hand: (usize, usize),
    /// Records taken out of the channel so far, and records dealt with.
    taken: u64,
    settled: u64,
    /// Who waits, and until how many records are settled.
    waiting: Vec<(u64, SyncSender<()>)>,
    ending: bool,
}

impl<O: Outlet> Work for Worker<O> {
    /// Until told to end, or until the pipe is gone.
    async fn work(&mut self) {
        loop {
            let gone = !self.gather().await;
            while !self.pending.is_empty() && !self.load.is_abandoned() {
                let records = self.next_message();
                self.deliver(records).await;
                self.answer_waiting();
            }
            self.answer_waiting();
            if gone || self.load.is_abandoned() {
                return;
            }
            if self.ending {
                // From here on a record is told at once that it came too late.
                self.commands.close();
                while let Ok(command) = self.commands.try_recv() {
                    self.take(command);
                }
                if self.pending.is_empty() {
                    return self.answer_waiting();
                }
            }
        }
    }

    /// The message in hand is lost, and counted: the next attempt would panic as this one did.
    fn recover(&mut self, panic: &str) {
        self.plan.stats.fault("export.panic");
        self.plan.stats.note_export_error(&format!("a fault of jitspan's own: {panic}"));
        self.outlet.reset();
        let (count, _) = self.in_hand;
        self.settle(&[(self.plan.ledger.fault, count)]);
        self.answer_waiting();
    }
}

impl<O: Outlet> Worker<O> {
    /// How long a message is tried again while the collector cannot be reached: the Collector's own default. After
    /// that it makes room for newer ones.
    const RETRY_FOR: Duration = Duration::from_secs(300);
    /// A 404 may also come from a proxy that is being rolled out, so one message asks again after this.
    const REFUSED_FOR: Duration = Duration::from_secs(300);

    pub(super) fn new(commands: mpsc::UnboundedReceiver<Command>, outlet: O, plan: Plan, load: Arc<Load>) -> Self {
        Worker {
            commands,
            outlet,
            plan,
            load,
            pending: VecDeque::new(),
            in_hand: (0, 0),
            taken: 0,
            settled: 0,
            waiting: Vec::new(),
            ending: false,
        }
    }

    /// Waits until there is something to do. False: the pipe is gone.
    async fn gather(&mut self) -> bool {
        if !self.pending.is_empty() {
            return true;
        }
        let Some(first) = self.commands.recv().await else { return false };
        if self.take(first) {
            return true;
        }
        let deadline = tokio::time::Instant::now() + self.plan.batch.delay;
        let mut is_over = false;
        loop {
            while self.pending.len() < self.plan.batch.size {
                match self.commands.try_recv() {
                    Ok(command) => {
                        if self.take(command) {
                            return true;
                        }
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return false,
                }
            }
            if is_over || self.pending.len() >= self.plan.batch.size {
                return true;
            }
            // A record wakes nobody, so what came since is still in the channel when the time is over.
            is_over = tokio::time::timeout_at(deadline, self.load.woken()).await.is_err();
        }
    }

    /// Takes one command. True: send now.
    fn take(&mut self, command: Command) -> bool {
        match command {
            Command::Export(record) => {
                self.taken += 1;
                self.pending.push_back(record);
                false
            }
            Command::Flush(done) => {
                self.waiting.push((self.taken, done));
                true
            }
            Command::Shutdown(done) => {
                self.waiting.push((self.taken, done));
                self.ending = true;
                true
            }
        }
    }

    /// Tells those whose records are dealt with. One who asked may have stopped waiting.
    fn answer_waiting(&mut self) {
        let settled = self.settled;
        self.waiting.retain(|(until, done)| {
            let over = *until <= settled;
            if over {
                let _ = done.try_send(());
            }
            !over
        });
    }

    /// As many records as fit in one message, which is at least one: none is queued that is too large alone.
    fn next_message(&mut self) -> Vec<Vec<u8>> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while let Some(record) = self.pending.front() {
            let more = record_len(record);
            let fits = records.len() < self.plan.batch.size && bytes + more <= MESSAGE_BYTES;
            if !fits && !records.is_empty() {
                break;
            }
            bytes += more;
            records.extend(self.pending.pop_front());
        }
        self.load.gathered(records.len());
        records
    }

    async fn deliver(&mut self, records: Vec<Vec<u8>>) {
        let count = records.len();
        self.in_hand = (count, records.iter().map(Vec::len).sum());
        let fates = if self.load.is_refusing() {
            vec![(self.plan.ledger.refused, count)]
        } else {
            let message = self.outlet.message(&records);
            // Its bytes are in the message now; holding both would double what waits for a collector that is down.
            drop(records);
            self.send(&message, count).await
        };
        self.settle(&fates);
    }

    /// What was in hand is dealt with: so many became this, so many that.
    fn settle(&mut self, fates: &[(Counter, usize)]) {
        let (count, bytes) = std::mem::take(&mut self.in_hand);
        self.settled += count as u64;
        self.load.let_go(bytes);
        if self.load.settle(count) {
            for (counter, count) in fates {
                self.plan.stats.add(*counter, *count);
            }
        }
    }

    /// What became of a message's records.
    async fn send(&mut self, message: &Bytes, count: usize) -> Vec<(Counter, usize)> {
        let ledger = self.plan.ledger;
        let give_up = Instant::now() + Self::RETRY_FOR;
        let mut backoff = Backoff::new();
        loop {
            let answer = self.outlet.send(message).await;
            self.note(&answer);
            let unsupported = matches!(answer, Answer::Unsupported { .. });
            self.load.refuse_until(unsupported.then(|| Instant::now() + Self::REFUSED_FOR));
            match answer {
                Answer::Taken { rejected, message } => {
                    let rejected = rejected.min(count);
                    if rejected > 0 || !message.is_empty() {
                        self.plan.stats.note_export_error(&message);
                    }
                    return vec![(ledger.exported, count - rejected), (ledger.rejected, rejected)];
                }
                Answer::Refused { message } | Answer::Unsupported { message } => {
                    self.plan.stats.note_export_error(&message);
                    return vec![(ledger.refused, count)];
                }
                Answer::Later { after, message } => {
                    self.plan.stats.note_export_error(&message);
                    let wait = backoff.next(after);
                    if Instant::now() + wait > give_up || self.load.is_abandoned() {
                        return vec![(ledger.unreachable, count)];
                    }
                    self.wait(wait, after.is_some()).await;
                }
            }
        }
    }

    /// For the log, if nothing arrives for long.
    fn note(&self, answer: &Answer) {
        let (Some(address), noun) = (self.outlet.address(), self.plan.ledger.noun) else { return };
        match answer {
            Answer::Taken { .. } => self.plan.stats.reach().arrived(address, noun),
            Answer::Later { message, .. } | Answer::Refused { message } | Answer::Unsupported { message } => {
                self.plan.stats.reach().failed(address, noun, message);
            }
        }
    }

    /// Waits before the next attempt. If somebody asks for a flush meanwhile, the next attempt is his, unless the
    /// collector itself `asked` for the wait and the process goes on. Records that come meanwhile are kept for later;
    /// the queue's bound holds for them too.
    async fn wait(&mut self, wait: Duration, asked: bool) {
        let until = tokio::time::Instant::now() + wait;
        loop {
            match tokio::time::timeout_at(until, self.commands.recv()).await {
                Err(_) => return,
                // The pipe is gone; what is left is still tried at the same pace.
                Ok(None) => return tokio::time::sleep_until(until).await,
                Ok(Some(command)) => {
                    if self.take(command) && (self.ending || !asked) {
                        // Not at once: a caller that flushes in a loop must not hammer a collector that is down.
                        return tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        }
    }
}
