//! Protobuf's wire format, read in place. Owns its bounds: nothing is copied or allocated, and no length is believed that the
//! bytes at hand do not bear out. Pure; knows no message.

use std::fmt;
use std::ops::Range;

/// Bytes that are no message of the kind that was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where, from the beginning of the outermost message.
    pub offset: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad protobuf: {} at byte {}", self.reason, self.offset)
    }
}

/// A field's content, as its wire type has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field<'a> {
    /// A variable number.
    Number(u64),
    /// Eight bytes.
    Fixed(u64),
    /// Bytes, a text, or a message.
    Bytes(&'a [u8]),
    /// Four bytes.
    Short,
}

/// Reads the fields of one message.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    message: &'a [u8],
    at: usize,
    /// Where the message stands in the outermost one.
    base: usize,
}

impl<'a> Reader<'a> {
    /// Of an outermost message.
    pub fn new(message: &'a [u8]) -> Reader<'a> {
        Reader { message, at: 0, base: 0 }
    }

    /// The offset of the next field in this message.
    pub fn position(&self) -> usize {
        self.at
    }

    /// A part of this message.
    pub fn between(&self, range: Range<usize>) -> &'a [u8] {
        self.message.get(range).unwrap_or(&[])
    }

    /// The next field's number and content; `None` at the end.
    ///
    /// # Errors
    /// It is cut, or of a wire type that there is not.
    #[inline]
    pub fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, Malformed> {
        if self.at == self.message.len() {
            return Ok(None);
        }
        let tag = self.variable()?;
        let field = match tag & 7 {
            0 => Field::Number(self.variable()?),
            1 => {
                let bytes = self.take(8)?;
                Field::Fixed(bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
            }
            2 => {
                let length = self.variable()?;
                Field::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Field::Short
            }
            3 | 4 => return self.fail("a group, which this message has not"),
            _ => return self.fail("a wire type that there is not"),
        };
        match tag >> 3 {
            0 => self.fail("a field with the number 0"),
            number => Ok(Some((number, field))),
        }
    }

    /// The message in a field that was just read.
    ///
    /// # Errors
    /// The field is none.
    #[inline]
    pub fn inner(&self, field: &Field<'a>) -> Result<Reader<'a>, Malformed> {
        let message = self.bytes(field)?;
        Ok(Reader { message, at: 0, base: self.base + self.at - message.len() })
    }

    /// The bytes of a field.
    ///
    /// # Errors
    /// It has none.
    #[inline]
    pub fn bytes(&self, field: &Field<'a>) -> Result<&'a [u8], Malformed> {
        if let Field::Bytes(bytes) = field { Ok(bytes) } else { self.fail("a field that should have a length") }
    }

    /// The number of a field.
    ///
    /// # Errors
    /// It is none.
    #[inline]
    pub fn number(&self, field: &Field<'a>) -> Result<u64, Malformed> {
        if let Field::Number(number) = field { Ok(*number) } else { self.fail("a field that should be a number") }
    }

    /// The eight bytes of a field.
    ///
    /// # Errors
    /// It has not eight.
    #[inline]
    pub fn fixed(&self, field: &Field<'a>) -> Result<u64, Malformed> {
        if let Field::Fixed(bits) = field { Ok(*bits) } else { self.fail("a field that should have eight bytes") }
    }

    #[inline]
    fn variable(&mut self) -> Result<u64, Malformed> {
        // Nearly all are of one byte.
        if let Some(&byte) = self.message.get(self.at).filter(|&&byte| byte < 0x80) {
            self.at += 1;
            return Ok(u64::from(byte));
        }
        self.long_variable()
    }

    fn long_variable(&mut self) -> Result<u64, Malformed> {
        let mut number = 0u64;
        for (at, &byte) in self.message[self.at..].iter().take(10).enumerate() {
            if at == 9 && byte > 1 {
                return self.fail("a number of more than 64 bits");
            }
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.at += at + 1;
                return Ok(number);
            }
        }
        self.fail("a number that is cut")
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let rest = &self.message[self.at..];
        match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => self.fail("a field that is longer than what is left"),
        }
    }

    #[cold]
    fn fail<T>(&self, reason: &'static str) -> Result<T, Malformed> {
        Err(Malformed { offset: self.base + self.at, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_wire_type_are_read() {
        let message = b"\x08\x96\x01\x11\x01\0\0\0\0\0\0\x80\x1a\x02hi\x25\x01\x02\x03\x04\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        let mut reader = Reader::new(message);
        assert_eq!(reader.next(), Ok(Some((1, Field::Number(150)))));
        assert_eq!(reader.next(), Ok(Some((2, Field::Fixed(0x8000_0000_0000_0001)))));
        assert_eq!(reader.next(), Ok(Some((3, Field::Bytes(b"hi")))));
        assert_eq!(reader.next(), Ok(Some((4, Field::Short))));
        assert_eq!(reader.next(), Ok(Some((5, Field::Number(u64::MAX)))));
        assert_eq!(reader.next(), Ok(None));
    }

    #[test]
    fn what_is_malformed_is_named_with_its_place() {
        for (message, offset, reason) in [
            (&b"\x0a"[..], 1, "a number that is cut"),
            (b"\x0a\x05ab", 2, "a field that is longer than what is left"),
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "a field that is longer than what is left"),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 1, "a number of more than 64 bits"),
            (b"\x08\x80", 1, "a number that is cut"),
            (b"\x09\x01\x02", 1, "a field that is longer than what is left"),
            (b"\x0b", 1, "a group, which this message has not"),
            (b"\x0e", 1, "a wire type that there is not"),
            (b"\x02\x00", 2, "a field with the number 0"),
        ] {
            assert_eq!(Reader::new(message).next(), Err(Malformed { offset, reason }), "{message:?}");
        }
        let error = Malformed { offset: 7, reason: "a number that is cut" };
        assert_eq!(error.to_string(), "bad protobuf: a number that is cut at byte 7");
    }

    #[test]
    fn an_inner_message_knows_its_place() {
        let mut reader = Reader::new(b"\x08\x01\x0a\x02\x0a\x05");
        reader.next().unwrap();
        let (_, field) = reader.next().unwrap().unwrap();
        let mut inner = reader.inner(&field).unwrap();
        assert_eq!(inner.next().unwrap_err().offset, 6);
        assert!(reader.inner(&Field::Short).is_err());
    }
}
