#!/usr/bin/env bash
# One sweep on the nodes of one Slurm job, as many times in a row as the time limit makes necessary.
#
#   export ORCH_RESULTS=/shared/results    # a folder that every node sees, or s3://bucket/prefix
#   sbatch deploy/slurm.sh experiments/imagenet_depth.yaml
#
# `orch`, `ray` and `python` of one environment are in PATH, on every node. What follows the spec goes to `orch run`.
# Also read: ORCH_SHARED, a folder that every node sees, for the token of the cluster (the home by default); ORCH_HEAD_IP,
# the first node's address, where Ray would take the wrong network; ORCH_JOIN_SECONDS, how long nodes may take to join.
#
# 300 s before the time limit Slurm sends USR1: trials save and stop, and the job goes back into the queue. It does not
# where the sweep is finished, where something failed, or after scancel. A job that Slurm preempts is requeued by Slurm.
#
#SBATCH --job-name=orch
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --exclusive
#SBATCH --no-kill
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=orch-%j.log
set -euo pipefail

spec=${1:?"usage: sbatch deploy/slurm.sh SPEC [OPTIONS OF orch run]"}
shift
: "${ORCH_RESULTS:?"set ORCH_RESULTS to a folder that every node sees, or to s3://bucket/prefix"}"
: "${SLURM_JOB_ID:?"this is a batch script: sbatch deploy/slurm.sh SPEC"}"
join_seconds=${ORCH_JOIN_SECONDS:-600}
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
run_folder=$(mktemp -d "${ORCH_SHARED:-$HOME}/.orch-job-$SLURM_JOB_ID-XXXXXX")

# Whoever has the token owns the cluster, so it stands in a file of mode 0600 and on no command line.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$run_folder/token RAY_USAGE_STATS_ENABLED=0
unset RAY_AUTH_TOKEN RAY_ADDRESS
(umask 077 && head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' > "$RAY_AUTH_TOKEN_PATH")
export RAY_TMPDIR=/tmp/orch-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0} # short, because sockets lie in it
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 # nothing is left to drain when this script ends Ray

steps=()
orch_pid=
code=3
is_interrupted=false
is_time_over=false

say() { echo "slurm.sh: $*" >&2; }

# Ends Ray on every node. Its logs stay where something went wrong.
clean_up() {
    trap '' USR1 TERM
    trap - EXIT
    [[ -z $orch_pid ]] || kill -TERM "$orch_pid" 2> /dev/null || true
    if ((${#steps[@]})); then
        kill -TERM "${steps[@]}" 2> /dev/null || true
        wait "${steps[@]}" || true
    fi
    rm -rf -- "$run_folder"
    case $code in
        0 | 1 | 143) srun --nodes="${#nodes[@]}" --ntasks-per-node=1 rm -rf -- "$RAY_TMPDIR" || true ;;
        *) say "Ray's logs stay in $RAY_TMPDIR on ${nodes[*]}" ;;
    esac
}
trap clean_up EXIT

# orch knows TERM: its trials save at the next step, and it leaves with 143.
stop_orch() {
    is_interrupted=true
    say "Slurm asks to stop"
    if [[ -z $orch_pid ]]; then
        code=143
        exit "$code"
    fi
    kill -TERM "$orch_pid" 2> /dev/null || true
}
trap 'is_time_over=true; stop_orch' USR1
trap stop_orch TERM

# A step a node, so that a lost node takes only its own along.
start_step() {
    local node=$1 cpus=${SLURM_CPUS_PER_TASK:-}
    shift
    srun --nodes=1 --ntasks=1 --nodelist="$node" ${cpus:+--cpus-per-task="$cpus"} \
        ray start --block ${cpus:+--num-cpus="$cpus"} "$@" < /dev/null &
    steps+=($!)
}

# Waits until a command succeeds; gives up when a step of the cluster ends, or time does.
wait_for() {
    local step deadline=$((SECONDS + join_seconds))
    until "$@"; do
        for step in "${steps[@]}"; do
            kill -0 "$step" 2> /dev/null || { say "Ray ended on a node before all had joined" && exit 3; }
        done
        ((SECONDS < deadline)) || { say "not all of ${nodes[*]} joined within $join_seconds s" && exit 3; }
        sleep 0.5
    done
}

num_alive_nodes() {
    python - "$address" << 'PYTHON'
import logging
import sys

import ray

ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
print(sum(node["Alive"] for node in ray.nodes()))
PYTHON
}
have_all_joined() { [[ $(num_alive_nodes) == "${#nodes[@]}" ]]; }

mkdir "$RAY_TMPDIR"
start_step "${nodes[0]}" --head --port=0 --include-dashboard=false --disable-usage-stats \
    ${ORCH_HEAD_IP:+--node-ip-address="$ORCH_HEAD_IP"}
wait_for test -s "$RAY_TMPDIR/ray/ray_current_cluster" # Ray's own note of the address it chose
address=$(< "$RAY_TMPDIR/ray/ray_current_cluster")
for node in "${nodes[@]:1}"; do
    start_step "$node" --address="$address"
done
wait_for have_all_joined
say "${#nodes[@]} nodes at $address"

orch run "$spec" --address "$address" --results "$ORCH_RESULTS" "$@" < /dev/null &
orch_pid=$!
while :; do
    is_interrupted=false
    waited=0
    wait "$orch_pid" || waited=$?
    ((waited == 127)) || code=$waited # 127: it had ended already when the signal came
    $is_interrupted || break
done
orch_pid=
clean_up

if $is_time_over && ((code == 143)); then
    say "work is left; back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
