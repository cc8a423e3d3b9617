#!/usr/bin/env bash
# Build the CPU image and use it as its reader would: doctor, the demo, a mounted file inverted.
# With Docker's engine from python:3.12-slim; without one, as root, with podman from a Debian made
# by debootstrap. Where neither can be, say what was skipped: that is no failure.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "container check skipped: $1. Not done: image build, doctor, demo, invert."
    exit 0
}

image=jaxinv-check
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/files"
chmod a+rwx "$work/files" # the image's user is not ours

if docker info >"$work/why" 2>&1; then
    engine=(docker)
    base=${BASE_IMAGE:-python:3.12-slim}
    docker image inspect "$base" >"$work/why" 2>&1 || docker pull --quiet "$base" ||
        skip "docker cannot pull $base"
    docker build --file docker/Dockerfile --build-arg BASE_IMAGE="$base" --tag "$image" .
else
    [ "$(id -u)" = 0 ] || skip "neither Docker's engine nor root is here"
    for program in podman runc debootstrap; do
        command -v "$program" >"$work/why" || skip "neither Docker's engine nor $program is here"
    done
    export CONTAINERS_CONF=$PWD/docker/containers.conf
    kept=${XDG_CACHE_HOME:-$HOME/.cache}/jaxinv # the base stays there for the next time
    mkdir -p "$kept"
    layers=$(mktemp -d "$kept/layers.XXXXXX")
    engine=(podman --root "$layers/root" --runroot "$layers/run")
    trap '"${engine[@]}" image umount --all >"$work/why" 2>&1; rm -rf "$work" "$layers"' EXIT
    [ -s "$kept/base.tar" ] || docker/base.sh "$kept/base.tar" >"$work/why" 2>&1 ||
        skip "debootstrap: $(tail -1 "$work/why")"
    "${engine[@]}" import --quiet "$kept/base.tar" localhost/base >"$work/why" 2>&1 ||
        skip "podman: $(tail -1 "$work/why")"
    "${engine[@]}" run --rm --network none localhost/base true >"$work/why" 2>&1 ||
        skip "podman cannot run a container: $(tail -1 "$work/why")"

    # What pip needs on this host is mounted while building and reaches no layer.
    authorities=/etc/ssl/certs/ca-certificates.crt
    here=(--volume "${PIP_CERT:-${SSL_CERT_FILE:-$authorities}}:$authorities:ro"
        --volume "$work/pip.conf:/etc/pip.conf:ro")
    {
        printf '[global]\ncert = %s\n' "$authorities"
        for key in index-url proxy; do
            value=$(python3 -m pip config get "global.$key" 2>"$work/why") && echo "$key = $value"
        done
    } >"$work/pip.conf" || true
    # shellcheck disable=SC2016 # the container expands it
    "${engine[@]}" run --rm --network host "${here[@]}" localhost/base sh -c \
        'python3 "$(echo /usr/share/python-wheels/pip-*)/pip" download --no-deps --dest /tmp hatchling' \
        >"$work/why" 2>&1 || skip "pip reaches no index: $(tail -1 "$work/why")"
    "${engine[@]}" build --isolation chroot --pull=never --format docker "${here[@]}" \
        --build-arg BASE_IMAGE=localhost/base --file docker/Dockerfile --tag "$image" .

    inside=$("${engine[@]}" image mount "$image")
    "${engine[@]}" history --no-trunc "$image" >"$work/history"
    sed -n 's/^\(nameserver\|index-url =\|proxy =\) //p' /etc/resolv.conf "$work/pip.conf" >"$work/ours"
    if [ -s "$inside/etc/pip.conf" ] ||
        ! tar --extract --to-stdout --file "$kept/base.tar" ".$authorities" |
            cmp - "$inside$authorities" ||
        grep -rFf "$work/ours" "$inside/etc" "$inside/home" "$work/history"; then
        echo "something of this host is in the image" && exit 1
    fi
fi

run() { "${engine[@]}" run --rm --network none --volume "$work/files:/work" "$@"; }

run "$image" doctor
echo "A required GPU that is not there:"
if run "$image" doctor --require-gpu | tee "$work/doctor"; then
    echo "doctor --require-gpu passed without a GPU" && exit 1
fi
grep -q "FAILED a GPU is required" "$work/doctor"

run "$image" demo --rows 1 --generator mnist-relu-20-60-784
[ -s "$work/files/jaxinv-demo.png" ]

net=mnist-leaky-20-200-500-784
run --entrypoint python "$image" -c "
import numpy, jaxinv
z = numpy.random.default_rng(0).standard_normal((100, 20))
numpy.save('z.npy', z)
numpy.save('x.npy', jaxinv.load_generator('$net')(z))"
run "$image" invert "$net" x.npy --method exact --out codes.npz
run --entrypoint python "$image" -c "
import numpy
error = abs(numpy.load('codes.npz')['latent'] - numpy.load('z.npy')).max()
assert error < 1e-9, error
print(f'100 planted codes recovered from a mounted file, largest error {error:.1e}')"
