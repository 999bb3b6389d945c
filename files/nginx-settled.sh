#!/bin/sh
# Runs beside nginx and keeps a file there while no node of the cluster has come or gone within the last 20 s. A node looks every 15 s
# for drives that were away when it started; until then it may say 404 of an object that is there.
# usage: settled CONFIG FILE
set -u
config=$1 file=$2 before=none
if ! command -v curl >/dev/null; then
    sleep 30
    : >"$file"
    exit
fi
while :; do
    urls=$(sed -n '/upstream api {/,/}/ s|.* server \([^ ;]*\).*|http://\1/minio/health/ready|p' "$config")
    set --
    for url in $urls; do set -- "$@" -o /dev/null "$url"; done
    now=$(curl -q -s -Z -m 1 --noproxy '*' -w '%{url_effective} %{http_code} %header{x-minio-server-status}\n' "$@" | sort)
    if [ "$now" != "$before" ]; then
        before=$now since=$(date +%s)
        rm -f "$file"
    fi
    [ $(($(date +%s) - since)) -lt 20 ] || : >"$file"
    sleep 2
done
