#!/bin/sh
# MirrorMaker 2, ended when one of its tasks has failed: it starts none of those again, and asks nobody to
# (docs/findings.md). Whoever runs this starts it again, as an orchestrator would.
#
#   harness run --app 'sh examples/mirrormaker/supervised.sh' --app-input orders --app-output primary.orders
here=$(dirname "$0")
: "${EXACTLY_ONCE:=enabled}" "${ISOLATION:=read_committed}" "${JARS:=$here/target/dependency}"
export EXACTLY_ONCE ISOLATION
trap : TERM # it reaches all of us; MirrorMaker is waited for
java -Xmx256m -XX:TieredStopAtLevel=1 -cp "$JARS/*" \
  org.apache.kafka.connect.mirror.MirrorMaker "$here/mirror.properties" &
mirror=$!
{
  tail -n 0 -f "$HARNESS_FOLDER/output.log" | grep -q 'will not recover until manually restarted'
  kill -KILL $mirror
} 2>/dev/null &
wait $mirror
wait $mirror
