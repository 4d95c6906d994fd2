//! `label_replace` and `label_join`. Owns the making of labels from labels.

use super::super::error::Error;
use super::super::pattern;
use super::super::plan::Call;
use super::{Column, Evaluator, Times};

/// Bytes of a label that is made here at most. Calls within calls could double it again and again.
const VALUE_BYTES_MAX: usize = 64 << 10;

impl Evaluator<'_> {
    /// Arguments: vector, destination, replacement, source, regular expression.
    pub(super) fn label_replace(&mut self, at: usize, call: &Call, times: &Times) -> Result<Vec<Column>, Error> {
        let text = |evaluator: &Self, index| -> Result<String, Error> {
            Ok(evaluator.literal(call.argument(index, evaluator.text, at)?)?.to_string())
        };
        let (destination, replacement) = (text(self, 1)?, text(self, 2)?);
        let (source, expression) = (text(self, 3)?, text(self, 4)?);
        self.check_name(call, 1, at, &destination)?;
        let place = call.argument(4, self.text, at)?.at;
        let regex = pattern::anchored(&expression).map_err(|reason| self.execution(place, reason))?;
        let mut columns = self.vector(call.argument(0, self.text, at)?, times)?;
        for column in &mut columns {
            self.budget.work(1)?;
            let from = column.labels.get(&source);
            let Some(captures) = regex.captures(from) else { continue };
            self.check_length(at, replacement.len() + replacement.matches('$').count() * from.len())?;
            let mut value = String::new();
            captures.expand(&replacement, &mut value);
            column.labels = column.labels.with(&destination, &value);
        }
        self.merged(at, columns)
    }

    /// Arguments: vector, destination, separator, sources.
    pub(super) fn label_join(&mut self, at: usize, call: &Call, times: &Times) -> Result<Vec<Column>, Error> {
        let destination = self.literal(call.argument(1, self.text, at)?)?;
        self.check_name(call, 1, at, destination)?;
        let separator = self.literal(call.argument(2, self.text, at)?)?;
        let mut sources = Vec::new();
        for source in call.arguments.iter().skip(3) {
            sources.push(self.literal(source)?);
        }
        let mut columns = self.vector(call.argument(0, self.text, at)?, times)?;
        for column in &mut columns {
            self.budget.work(1)?;
            let values: Vec<&str> = sources.iter().map(|source| column.labels.get(source)).collect();
            let length: usize = values.iter().map(|value| value.len() + separator.len()).sum();
            self.check_length(at, length)?;
            column.labels = column.labels.with(destination, &values.join(separator));
        }
        self.merged(at, columns)
    }

    fn check_length(&self, at: usize, bytes: usize) -> Result<(), Error> {
        if bytes > VALUE_BYTES_MAX {
            return Err(self.execution(at, format!("the label would be longer than {VALUE_BYTES_MAX} bytes")));
        }
        Ok(())
    }

    fn check_name(&self, call: &Call, index: usize, at: usize, name: &str) -> Result<(), Error> {
        if name.is_empty() {
            let place = call.argument(index, self.text, at)?.at;
            return Err(self.execution(place, "the name of a label is not empty"));
        }
        Ok(())
    }
}
