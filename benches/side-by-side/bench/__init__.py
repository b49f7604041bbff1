"""The side-by-side benchmark, in reading order: cli, workloads, rounds, measure, peer and the
peers (sidegate, envoy, haproxy, nginx, tunnels, bare), processes, machine, figures, targets,
report; build and install get the programs."""
