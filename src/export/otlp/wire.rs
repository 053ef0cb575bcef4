//! What our records need of protobuf, written straight to bytes. prost would first have every text and every list
//! copied into structures of its own: that was half of what exporting a span cost.
//!
//! proto3: a field that has its default value is left out, save inside a `oneof`, where it says which one it is.

use std::cell::Cell;

/// Wire types.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;

/// A message that is being written, field after field in the order of their numbers, as prost writes them.
#[derive(Debug, Default)]
pub struct Message(Vec<u8>);

thread_local! {
    /// Where this thread writes, so that a record is copied once, to a place of just its size.
    static DRAFT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// More than a record has, as a rule; a larger draft is not kept.
const DRAFT_BYTES: usize = 16 * 1024;

/// The bytes of a message.
pub fn written(body: impl FnOnce(&mut Message)) -> Vec<u8> {
    // A thread that is ending has no draft any more.
    let mut message = Message(DRAFT.try_with(Cell::take).unwrap_or_default());
    message.0.clear();
    body(&mut message);
    let bytes = message.0.as_slice().to_vec();
    if message.0.capacity() <= DRAFT_BYTES {
        let _ = DRAFT.try_with(|draft| draft.set(message.0));
    }
    bytes
}

impl Message {
    /// Text or bytes.
    pub fn bytes(&mut self, field: u64, value: &[u8]) {
        if !value.is_empty() {
            self.put_bytes(field, value);
        }
    }

    /// `uint32`, an enumeration.
    pub fn number(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.put_number(field, value);
        }
    }

    /// `fixed32`.
    pub fn fixed_32(&mut self, field: u64, value: u32) {
        if value != 0 {
            self.key(field, FIXED_32);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// `fixed64`.
    pub fn fixed_64(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.put_fixed_64(field, value);
        }
    }

    /// As [`bytes`](Self::bytes), in a `oneof`.
    pub fn put_bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, LENGTH_DELIMITED);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// As [`number`](Self::number), in a `oneof`.
    pub fn put_number(&mut self, field: u64, value: u64) {
        self.key(field, VARINT);
        self.varint(value);
    }

    /// As [`fixed_64`](Self::fixed_64), in a `oneof`: `double` is one as well.
    pub fn put_fixed_64(&mut self, field: u64, value: u64) {
        self.key(field, FIXED_64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A message inside this one.
    pub fn message(&mut self, field: u64, body: impl FnOnce(&mut Message)) {
        self.key(field, LENGTH_DELIMITED);
        let start = self.0.len();
        // Most are shorter than 128 bytes, whose length is one byte; a longer one is moved to make room for more.
        self.0.push(0);
        body(self);
        let length = self.0.len() - start - 1;
        if length < 0x80 {
            self.0[start] = length as u8;
            return;
        }
        let more = (usize::BITS - length.leading_zeros()).div_ceil(7) as usize - 1;
        let end = self.0.len();
        self.0.resize(end + more, 0);
        self.0.copy_within(start + 1..end, start + 1 + more);
        let mut left = length;
        for place in &mut self.0[start..start + more] {
            *place = left as u8 | 0x80;
            left >>= 7;
        }
        self.0[start + more] = left as u8;
    }

    /// `{field: {1: key, 2: {value}}}`, as most attributes are: short, so that each length is one byte and known
    /// before. `value` comes in two parts, for the second may be a text. False: it is not, write it as usual.
    pub fn short_pair<const N: usize>(&mut self, field: u64, key: &[u8], value: [u8; N], rest: &[u8]) -> bool {
        let of_value = N + rest.len();
        let of_pair = 4 + key.len() + of_value;
        if field > 15 || key.is_empty() || of_pair >= 0x80 {
            return false;
        }
        self.0.extend_from_slice(&[(field << 3 | LENGTH_DELIMITED) as u8, of_pair as u8, 0x0a, key.len() as u8]);
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(&[0x12, of_value as u8]);
        self.0.extend_from_slice(&value);
        self.0.extend_from_slice(rest);
        true
    }

    /// Fields that were written before.
    pub fn fields(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
