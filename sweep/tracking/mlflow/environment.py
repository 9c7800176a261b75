"""MLflow's environment variables: those that we set, whatever the user's are. The others keep their meaning.

What says how to reach a server, such as MLFLOW_TRACKING_TOKEN or MLFLOW_WORKSPACE, is the user's. What is meant for the
user's own runs or server, and would change what is sent or served here, is overruled.
"""

from __future__ import annotations

OURS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_WORKSPACES": "false",  # of a database that is opened here; with them it takes no artifact locations
}
"""In every process with MLflow."""
CLIENT = OURS | {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",  # else it runs `uv export` and copies our lock file into every model
    "MLFLOW_LOCK_MODEL_DEPENDENCIES": "false",  # else it resolves them over the network
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",  # else a request that is refused raises nothing
    # A retried POST of a run whose answer was lost makes a second run. The next pass is our retry: it searches first.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
"""In a process that sends runs."""
