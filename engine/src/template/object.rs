//! Plain Python objects with attributes: `dag`, `task`, `dag_run`, `var`, `macros`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr, Value};
use minijinja::{Error, ErrorKind, State};

/// A method or callable: gets all arguments.
pub(super) type Call = Arc<dyn Fn(&[Value]) -> Result<Value, Error> + Send + Sync>;

/// An object with fixed attributes and methods.
#[derive(Clone, Default)]
pub(super) struct PyObject {
    /// What `str()` gives, when it is known.
    pub(super) text: Option<String>,
    fields: BTreeMap<&'static str, Value>,
    methods: BTreeMap<&'static str, Call>,
    call: Option<Call>,
}

impl PyObject {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn text(mut self, text: String) -> Self {
        self.text = Some(text);
        self
    }

    pub(super) fn field(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.insert(name, value.into());
        self
    }

    pub(super) fn method(
        mut self,
        name: &'static str,
        call: impl Fn(&[Value]) -> Result<Value, Error> + Send + Sync + 'static,
    ) -> Self {
        self.methods.insert(name, Arc::new(call));
        self
    }

    pub(super) fn callable(
        mut self,
        call: impl Fn(&[Value]) -> Result<Value, Error> + Send + Sync + 'static,
    ) -> Self {
        self.call = Some(Arc::new(call));
        self
    }

    pub(super) fn value(self) -> Value {
        Value::from_object(self)
    }
}

impl fmt::Debug for PyObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PyObject").field("fields", &self.fields.keys()).finish_non_exhaustive()
    }
}

impl Object for PyObject {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.fields.get(key.as_str()?).cloned()
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        match &self.call {
            Some(call) => call(args),
            None => Err(Error::new(ErrorKind::InvalidOperation, "the object is not callable")),
        }
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match self.methods.get(method) {
            Some(call) => call(args),
            None => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}
