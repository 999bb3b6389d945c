#!/bin/sh
# Certificates of a host's own authority. The authority is made once, and is what clients trust; what it signs lasts 90 days and is
# signed anew when 30 of them are left.
#   certificates state FOLDER NAME OWNER HOST...  says what is wrong with FOLDER/NAME.crt, or `good`
#   certificates sign FOLDER NAME OWNER HOST...   signs a new one
#   certificates renew [all]                      signs anew what ends soon, or all, of the table, and has it taken up
#   certificates root                             says what is wrong with the authority itself, or `good`
set -eu
umask 077
here=/etc/stowage/authority left=2592000 days=90 strange='of another owner, or with other rights'
no_root='authority.crt is gone or damaged' # made anew with the same key, it is the same to whoever trusts the old one

names() { # as openssl writes them
  for one in "$@"; do
    case $one in *[!0-9.]*) printf 'DNS:%s\n' "$one" ;; *) printf 'IP Address:%s\n' "$one" ;; esac
  done | sort
}

alone() { # one run at a time: two would leave the key of one with the certificate of the other
  exec 9>"$here/lock"
  flock 9
  rm -rf "$here"/.new-?????? # a run that was cut may have left a key there
}

root() {
  crt=$here/authority.crt key=$here/authority.key
  [ -e "$crt" ] || [ -e "$key" ] || { echo 'not there'; return; }
  public=$(openssl pkey -pubout -in "$key" 2>/dev/null) || { echo 'authority.key is gone or damaged'; return; }
  openssl x509 -noout -in "$crt" >/dev/null 2>&1 || { echo "$no_root"; return; }
  [ "$(openssl x509 -noout -pubkey -in "$crt")" = "$public" ] || { echo 'authority.key is not the key of authority.crt'; return; }
  echo good
}

state() {
  crt=$1/$2.crt key=$1/$2.key owner=$3
  shift 3
  [ -s "$crt" ] && [ -s "$key" ] || { echo 'not there'; return; }
  openssl x509 -noout -checkend 0 -in "$crt" >/dev/null 2>&1 || { echo 'ended'; return; }
  [ -e "$here/authority.crt" ] || [ -e "$here/authority.key" ] || {
    echo 'signed by an authority that is gone: all clients must trust another one, or bring it back from a backup first'
    return
  }
  from=$(openssl x509 -noout -startdate -in "$here/authority.crt" 2>/dev/null | cut -d = -f 2)
  if [ -n "$from" ] && [ "$(date -d "$from" +%s)" -gt "$(date +%s)" ]; then
    echo "signed by an authority that is valid from $from on: the clock of this host is wrong, or was"
    return
  fi
  openssl verify -CAfile "$here/authority.crt" "$crt" >/dev/null 2>&1 || { echo 'signed by somebody else'; return; }
  openssl x509 -noout -checkend $left -in "$crt" >/dev/null || { echo 'ends soon'; return; }
  has=$(openssl x509 -noout -ext subjectAltName -in "$crt" | sed 1d | tr , '\n' | sed 's/^ *//' | sort)
  [ "$has" = "$(names "$@")" ] || { echo 'for other names'; return; }
  [ "$(openssl x509 -noout -pubkey -in "$crt")" = "$(openssl pkey -pubout -in "$key" 2>/dev/null)" ] || { echo 'not that of its key'; return; }
  # PostgreSQL says nothing when it cannot read its key again, and does not start the next time.
  [ "$(stat -c '%U:%G %a' -- "$key" "$crt" | tr '\n' ' ')" = "$owner:$owner 400 $owner:$owner 440 " ] || { echo "$strange"; return; }
  echo good
}

own() { # KEY CERTIFICATE OWNER
  chown "$3:$3" "$1" "$2" && chmod 0400 "$1" && chmod 0440 "$2"
}

made() { # openssl tells much when it makes a key
  said=$("$@" 2>&1) || { printf '%s\n' "$said" >&2; exit 1; }
}

mend() {
  alone
  need_authority
}

need_authority() {
  is=$(root) key=$here/authority.key
  case $is in good) return ;; 'not there' | "$no_root") ;; *)
    echo "$here/$is: nothing can be signed. Bring both files back from a backup; or remove both: another authority is made, which all clients must trust anew" >&2
    exit 1 ;;
  esac
  work=$(mktemp -d $here/.new-XXXXXX)
  if [ "$is" = "$no_root" ]; then
    cp -p "$key" "$work/authority.key"
  else
    made openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/authority.key"
  fi
  # By its name and key a client knows it.
  made openssl req -x509 -key "$work/authority.key" -days 3650 -subj "/CN=Stowage $(hostname) $(date -r "$work/authority.key" +%Y)" \
    -addext 'basicConstraints=critical,CA:true,pathlen:0' -addext 'keyUsage=critical,keyCertSign,cRLSign' \
    -out "$work/authority.crt"
  chmod 0644 "$work/authority.crt"
  sync "$work/authority.key" "$work/authority.crt"
  mv -f "$work/authority.key" $here/ && mv -f "$work/authority.crt" $here/
  rmdir "$work"
  sync $here
}

sign() {
  alone
  sign_alone "$@"
}

sign_alone() {
  if [ "$(state "$@")" = "$strange" ]; then
    own "$1/$2.key" "$1/$2.crt" "$3"
    return
  fi
  folder=$1 name=$2 owner=$3
  shift 3
  need_authority
  work=$(mktemp -d $here/.new-XXXXXX)
  trap 'rm -rf "$work"' EXIT
  alternatives=$(names "$@" | sed 's/IP Address:/IP:/' | tr '\n' , | sed 's/,$//')
  made openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days $days -subj / \
    -CA $here/authority.crt -CAkey $here/authority.key -addext "subjectAltName=critical,$alternatives" \
    -addext 'basicConstraints=critical,CA:false' -addext 'keyUsage=critical,digitalSignature' -addext 'extendedKeyUsage=serverAuth' \
    -keyout "$work/key" -out "$work/crt"
  own "$work/key" "$work/crt" "$owner"
  sync "$work/key" "$work/crt"
  # Both at once cannot be: who reads between the two is told again.
  mv -f "$work/key" "$folder/$name.key" && mv -f "$work/crt" "$folder/$name.crt"
  sync "$folder"
}

renew() {
  alone
  failed=0
  # A line of the table: FOLDER NAME OWNER COMMAND HOST..., where COMMAND is a script beside it that has it taken up.
  while read -r folder name owner taken_up hosts; do
    [ -d "$folder" ] || continue # who serves it was not deployed yet
    # shellcheck disable=SC2086 # names have no blanks
    [ "${1-}" = all ] || [ "$(state "$folder" "$name" "$owner" $hosts)" != good ] || continue
    # shellcheck disable=SC2086
    if ! sh "$0" sign_alone "$folder" "$name" "$owner" $hosts </dev/null; then
      echo "$folder/$name.crt: not renewed; what was there is served on" >&2
      failed=1
    elif output=$(sh "$here/$taken_up" </dev/null 2>&1); then
      echo "$folder/$name.crt: signed anew"
    else
      printf '%s\n' "$output" >&2
      echo "$folder/$name.crt: signed anew, and not taken up by $taken_up; what was there is served on" >&2
      failed=1
    fi
  done <$here/table
  return $failed
}

what=$1
shift
"$what" "$@"
