use std::collections::VecDeque;

use super::error::ProtocolError;
use super::limits::MAX_TRANSMIT_BYTES;
use super::message::{FrameHead, Message, write_frame};

/// What lies below a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Bytes arrive once, whole and in order, in chunks of any size.
    Stream,
    /// Each transmission is one message that may be lost, doubled or overtaken.
    Datagram,
}

/// Bytes that wait for the transport, bounded.
#[derive(Debug)]
pub(crate) struct Outbox {
    transport: Transport,
    bytes: Vec<u8>,
    /// Lengths of the messages in `bytes`; empty on a stream, where borders don't matter.
    lengths: VecDeque<usize>,
}

impl Outbox {
    pub(crate) const fn new(transport: Transport) -> Self {
        Self {
            transport,
            bytes: Vec::new(),
            lengths: VecDeque::new(),
        }
    }

    pub(crate) fn write(&mut self, message: &Message) -> Result<(), ProtocolError> {
        self.write_with(|out| message.write(out))
    }

    pub(crate) fn write_frame(
        &mut self,
        head: &FrameHead,
        body: &[u8],
    ) -> Result<(), ProtocolError> {
        self.write_with(|out| write_frame(out, head, body))
    }

    fn write_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), ProtocolError> {
        let before = self.bytes.len();
        write(&mut self.bytes);
        let found = self.bytes.len();
        if found > MAX_TRANSMIT_BYTES {
            self.bytes.truncate(before);
            return Err(ProtocolError::TransmitFull {
                found,
                allowed: MAX_TRANSMIT_BYTES,
            });
        }
        if self.transport == Transport::Datagram {
            self.lengths.push_back(found - before);
        }
        Ok(())
    }

    /// Appends what may go out at once: all of a stream, one message as a datagram.
    pub(crate) fn poll(&mut self, out: &mut Vec<u8>) -> bool {
        if self.bytes.is_empty() {
            return false;
        }
        match self.transport {
            Transport::Stream => out.append(&mut self.bytes),
            Transport::Datagram => {
                let length = self.lengths.pop_front().expect("one length per message");
                out.extend(self.bytes.drain(..length));
            }
        }
        true
    }

    pub(crate) const fn waiting_bytes(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_outbox_refuses_and_keeps_what_it_has() {
        let mut outbox = Outbox::new(Transport::Stream);
        let head = FrameHead {
            seq: 1,
            split: 0,
            rung: 0,
            budget_us: 1,
        };
        let body = vec![0; 60_000];
        let mut taken = 0;
        while outbox.write_frame(&head, &body).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, MAX_TRANSMIT_BYTES / 60_010);
        assert!(outbox.waiting_bytes() <= MAX_TRANSMIT_BYTES);
        let mut out = Vec::new();
        assert!(outbox.poll(&mut out));
        assert!(!outbox.poll(&mut out));
        assert!(outbox.write_frame(&head, &body).is_ok());
    }

    #[test]
    fn datagrams_leave_one_by_one() {
        let mut outbox = Outbox::new(Transport::Datagram);
        outbox.write(&Message::Drain { within_ms: 1 }).unwrap();
        outbox.write(&Message::Drain { within_ms: 2 }).unwrap();
        let mut first = Vec::new();
        assert!(outbox.poll(&mut first));
        let mut second = Vec::new();
        assert!(outbox.poll(&mut second));
        assert_eq!(first.len(), second.len());
        assert_ne!(first, second);
    }
}
