# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034
# What scripts/triton needs before it can start a server: a fitting machine, the virtual environment, models with weights.
# Sourced by it: uses its `root`, `venv`, `say` and `fail`, and sets `wheel`, `server_path` and `server_libraries`.

check_machine() {
    docker="remedy if that cannot be changed: Docker, by docker compose -f docker-compose.yml -f docker-compose.cpu.yml up"
    local glibc
    [[ $(uname -sm) == "Linux x86_64" ]] ||
        fail "nvidia-pytriton is built for Linux on x86-64; this is $(uname -sm)" "$docker"
    glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d ' ' -f 2) || true
    [[ -n $glibc && $(printf '%s\n' 2.35 "$glibc" | sort -V | head -n 1) == 2.35 ]] ||
        fail "tritonserver needs glibc 2.35 or newer (Debian 12, Ubuntu 22.04); this system has ${glibc:-another C library}" "$docker"
}

# The virtual environment, the backend's stub for its Python, and the libpython that the stub links to.
prepare_server() {
    local docker # the remedy for a machine that does not fit
    check_machine
    "$root/scripts/venv" --no-deps "$venv" "$root/scripts/requirements.txt" ||
        fail "no virtual environment (above is why)" "$docker"

    local facts python_version library_directory purelib
    facts=$("$venv/bin/python" -c '
import ctypes, os, sys, sysconfig
version = "%d.%d" % sys.version_info[:2]
directory = sysconfig.get_config_var("LIBDIR") or ""
name = "libpython%s.so.1.0" % version
for candidate in (os.path.join(directory, name), name):
    try:
        ctypes.CDLL(candidate)
        break
    except OSError:
        pass
else:
    directory = "none"
print(version, directory, sysconfig.get_path("purelib"))')
    read -r python_version library_directory purelib <<<"$facts"
    [[ $library_directory != none ]] ||
        fail "the Python $python_version of .venv has no shared library, libpython$python_version.so.1.0, which Triton's Python backend needs" \
            "remedy on Debian and Ubuntu: apt-get install libpython$python_version" \
            "or take another Python: PYTHON=python3.12 scripts/triton start"

    readonly wheel=$purelib/pytriton/tritonserver
    readonly server_path=$venv/bin:$PATH server_libraries=$library_directory
    local stub=$wheel/backends/python/triton_python_backend_stub
    if ! cmp --silent "$wheel/python_backend_stubs/$python_version/triton_python_backend_stub" "$stub"; then
        install -m 755 "$wheel/python_backend_stubs/$python_version/triton_python_backend_stub" "$stub.$$"
        mv -f "$stub.$$" "$stub"
    fi
}

# A model that can run here has configs/pypi.pbtxt. It needs weights, and a configuration by the one name that
# tritonserver is told to look for: the labelled one, which says where the weights came from.
prepare_models() { # REPOSITORY
    local configuration model
    for configuration in "$1"/*/configs/pypi.pbtxt; do
        [[ -e $configuration ]] || continue
        model=$(basename "$(dirname "$(dirname "$configuration")")")
        if [[ ! -e $1/$model/1/model.onnx && $1 == "$root/model_repository" ]]; then
            say "$model has no weights yet: writing a stand-in of the same structure with random weights"
            (cd "$root" && cargo run --release --quiet -- models synth "$model" 8>&- 9>&-) >&2 ||
                fail "could not write the stand-in of $model (above is why)"
            [[ -e $1/$model/1/model.onnx ]] ||
                fail "runner models synth $model wrote no model_repository/$model/1/model.onnx"
        fi
        label "$configuration" "${configuration%.pbtxt}-labelled.pbtxt"
    done
}

# Without its own label the configuration stands in for the labelled one, and is kept up to date.
label() { # CONFIGURATION LABELLED
    local mark="# copied by scripts/triton: no label"
    if [[ ! -e $2 ]] || head -n 1 "$2" | grep -qxF "$mark"; then
        { echo "$mark" && cat "$1"; } >"$2.$$"
        mv -f "$2.$$" "$2"
    fi
}
