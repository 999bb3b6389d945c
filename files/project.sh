#!/bin/sh
# Starts or stops the containers of one compose project, each for itself: one that cannot start, for want of its drive,
# does not keep the others down. Containers that exist are started as they are; only a deploy makes or changes them.
# usage: project start|stop NAME COMPOSE_FILE
set -u
# Root's own configuration of Docker may hold a proxy, which compose would give to every container that it makes.
DOCKER_CONFIG=/var/empty/docker; export DOCKER_CONFIG
action=$1 name=$2 file=$3
compose() { docker compose --env-file /dev/null -p "$name" -f "$file" "$@"; }

if [ "$action" = stop ]; then
    # Each container has the time to stop that it was made with.
    compose stop
    exit
fi
failed=
for service in $(compose config --services); do
    compose up -d --no-recreate --no-deps --no-build --pull never "$service" || failed="$failed $service"
done
if [ -n "$failed" ]; then
    echo "degraded: not started:$failed" >&2
    systemd-notify --status="degraded: not started:$failed" || :
fi
# The unit stays active: systemd would otherwise not stop the others with their grace at shutdown.
exit 0
