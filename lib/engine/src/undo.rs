//! Done steps as values: dropped, they are undone backwards; committed, they stay. A panic
//! drops them too, which is why the programs unwind.

type Step<'a> = Box<dyn FnOnce() -> Result<(), String> + 'a>;

/// The steps done so far.
#[must_use = "dropping it at once undoes nothing and protects nothing"]
pub(crate) struct Undo<'a> {
    steps: Vec<(&'static str, Step<'a>)>,
    warn: &'a dyn Fn(&str),
}

impl<'a> Undo<'a> {
    /// None done yet; `warn` hears of undos that fail.
    pub(crate) fn new(warn: &'a dyn Fn(&str)) -> Self {
        Self { steps: Vec::new(), warn }
    }

    /// Notes how to undo a step. To be called before the step where it can be half done, since
    /// undoing what was not done is no error.
    pub(crate) fn push(
        &mut self,
        what: &'static str,
        undo: impl FnOnce() -> Result<(), String> + 'a,
    ) {
        self.steps.push((what, Box::new(undo)));
    }

    /// Keeps everything.
    pub(crate) fn commit(mut self) {
        self.steps.clear();
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        while let Some((what, undo)) = self.steps.pop() {
            if let Err(error) = undo() {
                (self.warn)(&format!("undo of {what}: {error}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn drops_backwards_and_commits() {
        let log = RefCell::new(Vec::new());
        let warn = |text: &str| log.borrow_mut().push(text.to_owned());
        let mut undo = Undo::new(&warn);
        undo.push("one", || {
            log.borrow_mut().push("1".into());
            Ok(())
        });
        undo.push("two", || Err("broken".into()));
        drop(undo);
        assert_eq!(*log.borrow(), ["undo of two: broken", "1"]);
        let mut undo = Undo::new(&warn);
        undo.push("three", || Err("never".into()));
        undo.commit();
        assert_eq!(log.borrow().len(), 2);
    }
}
