#!/usr/bin/env bash
# A real S3 server on loopback for tests: Ceph's RADOS Gateway over an in-memory store.
#   s3_server.sh install                installs Debian's packages (as root)
#   s3_server.sh start DIR PORT         starts a fresh one; prints its endpoint
#   s3_server.sh stop DIR               stops what DIR's start started
#   s3_server.sh gateway-stop|gateway-start|gateway-pause|gateway-continue DIR
#                                       the HTTP gateway alone: ends, restarts, SIGSTOPs, continues it; the data stays
# It checks signatures and honours conditional PUTs. PORT + 1000 is used too. Data is lost on stop.
# Keys: test-access, test-secret.
set -euo pipefail
command=${1:?install, start, stop or gateway-...}
if [[ $command == install ]]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ceph-mon ceph-osd radosgw ceph-common
  exit
fi
dir=${2:?a folder for the server\'s files}
export CEPH_CONF=$dir/ceph.conf

end() {  # end PID_FILE: asks the process to end and waits until it has
  [[ -f $1 ]] || return 0
  local pid; pid=$(cat "$1")
  kill -CONT "$pid" 2>/dev/null && kill "$pid" 2>/dev/null || true
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
  kill -KILL "$pid" 2>/dev/null || true
}

wait_until() {  # wait_until COMMAND...: for up to 60 s
  for _ in $(seq 240); do "$@" >/dev/null 2>&1 && return 0; sleep 0.25; done
  echo "s3_server.sh: gave up waiting for: $*; see $dir/log" >&2
  return 1
}

osd_is_up() { ceph osd tree | grep -q ' up '; }

start_gateway() {
  radosgw -n client.rgw
  wait_until curl -sf -m 3 "$(cat "$dir/endpoint")/"
}

case $command in
  stop) for name in client.rgw osd.0 mon.a; do end "$dir/run/$name.pid"; done; exit ;;
  gateway-stop) end "$dir/run/client.rgw.pid"; exit ;;
  gateway-start) start_gateway; exit ;;
  gateway-pause) kill -STOP "$(cat "$dir/run/client.rgw.pid")"; exit ;;
  gateway-continue) kill -CONT "$(cat "$dir/run/client.rgw.pid")"; exit ;;
  start) ;;
  *) echo "s3_server.sh: no command '$command'" >&2; exit 2 ;;
esac

port=${3:?a port}
mkdir -p "$dir"/{mon,osd/0,log,run,rgw}
echo "http://127.0.0.1:$port" >"$dir/endpoint"
fsid=$(cat /proc/sys/kernel/random/uuid)
cat >"$CEPH_CONF" <<CONF
[global]
fsid = $fsid
mon host = v2:127.0.0.1:$((port + 1000))/0
mon initial members = a
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
mon allow pool size one = true
mon warn on pool no redundancy = false
osd crush chooseleaf type = 0
mon max pg per osd = 2000
osd objectstore = memstore
memstore device bytes = 4294967296
keyring = $dir/keyring
log file = $dir/log/\$name.log
pid file = $dir/run/\$name.pid
admin socket = $dir/run/\$name.asok
run dir = $dir/run
mon data = $dir/mon
osd data = $dir/osd/0
mon data avail warn = 1
mon data avail crit = 1
ms bind ipv4 = true
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd memory target = 1073741824
[client.rgw]
rgw frontends = beast tcp_nodelay=1 endpoint=127.0.0.1:$port
rgw thread pool size = 64
rgw data = $dir/rgw
rgw run sync thread = false
CONF
ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
for name in client.admin client.rgw osd.0; do
  ceph-authtool "$dir/keyring" --gen-key -n $name --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' >/dev/null
done
monmaptool --create --addv a "[v2:127.0.0.1:$((port + 1000))/0]" --fsid "$fsid" --clobber "$dir/monmap" >/dev/null
ceph-mon -i a --mkfs --monmap "$dir/monmap" --keyring "$dir/keyring"
ceph-mon -i a
osd_uuid=$(cat /proc/sys/kernel/random/uuid)
ceph osd new "$osd_uuid" >/dev/null
ceph auth import -i "$dir/keyring" 2>/dev/null
ceph-osd -i 0 --mkfs --osd-uuid "$osd_uuid" 2>/dev/null
ceph-osd -i 0 2>/dev/null
wait_until osd_is_up
start_gateway
radosgw-admin -n client.admin user create --uid=test --display-name=test \
  --access-key=test-access --secret-key=test-secret >/dev/null 2>&1
cat "$dir/endpoint"
