"""Exceptions under the names that DAG files import."""


class AirflowException(Exception):
    """Base of everything that the authoring module raises on purpose."""

    status_code = 500


class AirflowBadRequest(AirflowException):
    """Something asked for cannot be right."""

    status_code = 400


class AirflowNotFoundException(AirflowException):
    """Something named does not exist."""

    status_code = 404


class AirflowConfigException(AirflowException):
    """A configuration value is missing or wrong."""


class AirflowSensorTimeout(AirflowException):
    """A sensor waited longer than its timeout."""


class AirflowSkipException(AirflowException):
    """Raised by a task to become skipped."""


class AirflowFailException(AirflowException):
    """Raised by a task to fail without further retries."""


class AirflowTaskTimeout(AirflowException):
    """A task ran longer than allowed."""


class AirflowTaskTerminated(AirflowException):
    """A task was told to end."""


class AirflowDagCycleException(AirflowException):
    """The tasks of a DAG depend on each other in a circle."""


class AirflowDagDuplicatedIdException(AirflowException):
    """Two DAGs have one id."""


class AirflowDagInconsistent(AirflowException):
    """A DAG contradicts itself."""


class AirflowClusterPolicyViolation(AirflowException):
    """A DAG breaks a rule of the deployment."""


class AirflowTimetableInvalid(AirflowException):
    """A schedule cannot be understood."""


class AirflowOptionalProviderFeatureException(AirflowException):
    """A feature needs something that is not installed."""


class InvalidArguments(AirflowException, TypeError):
    """Arguments that the called class does not have, or lacks."""


class DuplicateTaskIdFound(AirflowException):
    """Two tasks or groups of one DAG have one id."""


class TaskAlreadyInTaskGroup(AirflowException):
    """A task is put into a second group."""


class DagNotFound(AirflowNotFoundException):
    """No DAG has this id."""


class DagRunNotFound(AirflowNotFoundException):
    """No run has this id."""


class TaskNotFound(AirflowNotFoundException):
    """No task has this id."""


class TaskInstanceNotFound(AirflowNotFoundException):
    """No task instance has this id."""


class XComNotFound(AirflowException):
    """A task asked for an XCom that was never pushed."""

    def __init__(self, dag_id, task_id, key):
        super().__init__(f"XComArg result from {task_id} at {dag_id} with key={key!r} is not found")
        self.dag_id = dag_id
        self.task_id = task_id
        self.key = key


class ParamValidationError(AirflowException):
    """A param's value is not allowed."""


class UnmappableXComTypePushed(AirflowException):
    """A value cannot be mapped over."""


class RemovedInAirflow3Warning(DeprecationWarning):
    """Something that newer DAG files should not use."""


class AirflowProviderDeprecationWarning(DeprecationWarning):
    """Something in a provider that newer DAG files should not use."""
