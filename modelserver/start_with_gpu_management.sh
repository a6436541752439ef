#!/usr/bin/env bash
# Starts a project's torch server with GPU management, from three variables. It finds the Python that the
# project runs with, and becomes the server (exec), so that SIGTERM from a supervisor or `docker stop`
# reaches it and running requests are answered before it ends.
set -euo pipefail

usage() {
    cat <<'HELP'
Start a torch server whose idle models leave the GPU.

usage: PROJECT_DIR=… PORT=… GPU_IDLE_TIMEOUT=… start_with_gpu_management.sh [option of `dormouse-modelserver serve`]…

needed:
  PROJECT_DIR         your project's folder, with your modules and dormouse.toml
  PORT                port to listen on, 1 to 65535
  GPU_IDLE_TIMEOUT    seconds without use until the weights leave the GPU; 0 after each task; never

if you like:
  GPU_AFTER_TASK      offload (here the default): off the GPU as soon as a task ends; keep: until the timeout
  GPU_UNLOAD_TIMEOUT  seconds without use until the weights leave host RAM as well; default never
  DORMOUSE_DEVICE     auto (default), cuda:0, or sim:4GiB for a simulated device without a GPU
  DORMOUSE_PYTHON     the Python to use; else PROJECT_DIR/.venv, PROJECT_DIR/venv, $VIRTUAL_ENV, the .venv of
                      this checkout, python3

What to serve stands in PROJECT_DIR/dormouse.toml, or in options:
  app = "my_app.server:create_app"

  [models]
  tts = "my_app.models:load_tts"

examples:
  PROJECT_DIR=~/speech PORT=7860 GPU_IDLE_TIMEOUT=600 modelserver/start_with_gpu_management.sh
  PROJECT_DIR=~/speech PORT=7861 GPU_IDLE_TIMEOUT=never GPU_AFTER_TASK=keep modelserver/start_with_gpu_management.sh
  PROJECT_DIR=. PORT=7860 GPU_IDLE_TIMEOUT=60 DORMOUSE_DEVICE=sim:1GiB \
      modelserver/start_with_gpu_management.sh --app examples.speech_server:create_app
HELP
}

fail() {
    printf 'start_with_gpu_management.sh: %s\n' "$1" >&2
    exit 2
}

has_dormouse() {
    "$1" -c 'import dormouse_modelserver.cli' >/dev/null 2>&1
}

# A project that has an environment runs in it or not at all: in another one its own packages are missing.
find_python() {
    local venv python
    if [[ -n ${DORMOUSE_PYTHON:-} ]]; then
        command -v -- "$DORMOUSE_PYTHON" >/dev/null || fail "DORMOUSE_PYTHON is '$DORMOUSE_PYTHON', which can't be run"
        has_dormouse "$DORMOUSE_PYTHON" || fail "$DORMOUSE_PYTHON has no dormouse. $(install_with "$DORMOUSE_PYTHON")"
        printf '%s' "$DORMOUSE_PYTHON"
        return
    fi
    for venv in "$PROJECT_DIR/.venv" "$PROJECT_DIR/venv"; do
        python=$venv/bin/python
        [[ -x $python ]] || continue
        has_dormouse "$python" || fail "the project's environment $venv has no dormouse. $(install_with "$python")"
        printf '%s' "$python"
        return
    done
    for python in "${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}" "$here/../.venv/bin/python" python3; do
        if [[ -n $python ]] && has_dormouse "$python"; then
            printf '%s' "$python"
            return
        fi
    done
    fail "no Python with dormouse: not in $PROJECT_DIR/.venv, $PROJECT_DIR/venv, \$VIRTUAL_ENV or python3. $(install_with "python3")"
}

install_with() {
    printf "Install it: %s -m pip install '%s[modelserver,torch]'" "$1" "$(dirname -- "$here")"
}

# Whether the part of dormouse.toml before its first table sets `after-task`: the file beats our default.
file_sets_after_task() {
    [[ -f $PROJECT_DIR/dormouse.toml ]] &&
        awk '/^[[:space:]]*\[/ {exit} /^[[:space:]]*"?after-task"?[[:space:]]*=/ {found = 1} END {exit !found}' \
            "$PROJECT_DIR/dormouse.toml"
}

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

case ${1:-} in
    -h | --help)
        usage
        exit 0
        ;;
esac

[[ -n ${PROJECT_DIR:-} ]] || fail "PROJECT_DIR is not set. Write your project's folder: PROJECT_DIR=~/speech (--help shows examples)"
[[ -d $PROJECT_DIR ]] || fail "PROJECT_DIR is '$PROJECT_DIR', which is no folder. Write your project's folder"
[[ -n ${PORT:-} ]] || fail "PORT is not set. Write the port to listen on: PORT=7860 (--help shows examples)"
[[ -n ${GPU_IDLE_TIMEOUT:-} ]] ||
    fail "GPU_IDLE_TIMEOUT is not set. Write the idle seconds until weights leave the GPU: GPU_IDLE_TIMEOUT=600, or never"

PROJECT_DIR=$(cd -- "$PROJECT_DIR" && pwd)
if [[ ! -f $PROJECT_DIR/dormouse.toml && $# -eq 0 ]]; then
    fail "nothing to serve: $PROJECT_DIR has no dormouse.toml. Write one with the line
  app = \"my_app.server:create_app\"
or give --app or --model (--help shows examples)"
fi
if [[ -z ${GPU_AFTER_TASK:-} ]] && ! file_sets_after_task; then
    GPU_AFTER_TASK=offload
fi
python=$(find_python)

export PROJECT_DIR PORT GPU_IDLE_TIMEOUT GPU_AFTER_TASK=${GPU_AFTER_TASK:-} PYTHONUNBUFFERED=1
cd -- "$PROJECT_DIR"
exec "$python" -m dormouse_modelserver.cli serve "$@"
