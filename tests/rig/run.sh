#!/bin/bash
# run.sh - run a command in a throw-away VM that has a real V4L2 camera driver, or disks.
#
#   ./run.sh [command [args...]]        e.g.  ./run.sh v4l2-ctl --list-formats-ext
#                                             ./run.sh 'ls -l /dev/video*; id'
# (one argument is handed to the shell; several are run as they are; none: list formats)
#
# The guest is a stock Debian kernel and a small initramfs. Its root is the HOST's
# root, read-only through 9p, under an overlay kept in RAM: the host's programs
# and virtual environments run in it unchanged, at the same paths, and nothing that is
# written there lasts. Only $SHARE (same path in the guest) is written through.
#
# Knobs (environment):
#   CAM=vivid|uvc|none   vivid: the kernel's virtual capture driver (CAM=uvc,vivid: both; VIVID="... vid_cap_nr=10"
#                        starts at /dev/video10, so that both fit)
#                        uvc:   a USB webcam (MJPEG, YUYV) under the real uvcvideo driver:
#                               uvccam.py plugs it into vhci_hcd (USB/IP); it can be pulled
#                               out: echo unplug > /run/uvccam (plug, freeze, thaw, trunc N)
#                               UVCCAM="--jpeg F.jpg --size 640x480 --fps 15" are its options
#   DISKS="a.img b.img"  image files that become /dev/vda, /dev/vdb, ...; with them come ext4, xfs and device mapper's
#                        log-writes and snapshot
#   VIVID="n_devs=1 node_types=0x1"   vivid module options (0x1: one video capture node)
#   HOSTFWD="8080:8080 ..."  host 127.0.0.1:PORT -> guest PORT (listen on 0.0.0.0 there)
#   SHARE=dir (default: $CACHE/share)  SMP=2  MEM=1024  LIMIT=300 (seconds)
#   ACCEL=tcg|kvm        kvm only where /proc/cpuinfo has vmx or svm; tcg runs everywhere (boot: 5 to 9 s)
#   KDEB=linux-image-...-amd64  kernel package (default: what linux-image-amd64 depends on)
#   APPEND=...           more kernel command line      V=1  kernel messages on the console
# Exit status: the command's; 124 past LIMIT; 125 if the guest died before it ended.
# Needs: apt-get install --no-install-recommends qemu-system-x86 busybox-static cpio kmod zstd xz-utils
#        (and ffmpeg, once, for CAM=uvc's default image)
set -euo pipefail
RIG=$(cd "$(dirname "$0")" && pwd)
CACHE=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/v4l2rig}; mkdir -p "$CACHE"   # kernel, image, default SHARE
CAM=${CAM:-vivid} ACCEL=${ACCEL:-tcg} SMP=${SMP:-2} MEM=${MEM:-1024} LIMIT=${LIMIT:-300}
VIVID=${VIVID:-n_devs=1 node_types=0x1} UVCCAM=${UVCCAM:---jpeg $CACHE/frame.jpg} HOSTFWD=${HOSTFWD:-} DISKS=${DISKS:-} APPEND=${APPEND:-} V=${V:-}
SHARE=${SHARE:-$CACHE/share}; mkdir -p "$SHARE/.rig"; SHARE=$(cd "$SHARE" && pwd); R=$SHARE/.rig
KDEB=${KDEB:-$(apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends: linux-image/{print $2}')}
K=$CACHE/kernel/$KDEB

# ---- once per kernel: its .deb -> a plain vmlinux and an initramfs -------------------------
# (dpkg -x: nothing is installed. vmlinux, not vmlinuz: qemu enters it through PVH and the
#  guest does not spend seconds unpacking itself - or minutes, where KVM emulates that part.)
exec 9>"$CACHE/lock"; flock 9                            # for the guests that are booted at the same time
if [ ! -e "$K/initramfs.gz" ] || [ "$0" -nt "$K/initramfs.gz" ]; then
  mkdir -p "$K"
  [ -d "$K/root/boot" ] || ( cd "$K"; apt-get download -qq "$KDEB" 2>/dev/null; dpkg -x ./*.deb root; rm ./*.deb )
  REL=$(basename "$K/root/lib/modules/"*)
  [ -e "$K/vmlinux" ] || python3 - "$K/root/boot/vmlinuz-$REL" "$K/vmlinux" <<'PY'
import lzma, struct, subprocess, sys
b = open(sys.argv[1], 'rb').read()
off, size = struct.unpack_from('<II', b, 0x248)          # boot protocol: payload_offset, payload_length
start = ((b[0x1f1] or 4) + 1) * 512 + off
p = b[start:start + size]
if p[:4] == b'\x28\xb5\x2f\xfd':                         # zstd; the last 4 bytes are its unpacked size
    out = subprocess.run(['zstd', '-qdc'], input=p[:-4], stdout=subprocess.PIPE).stdout
else:
    out = lzma.LZMADecompressor().decompress(p)          # xz
assert out[:4] == b'\x7fELF'
open(sys.argv[2], 'wb').write(out)
PY
  depmod -b "$K/root" "$REL"
  I=$K/initramfs; rm -rf "$I"; mkdir -p "$I"/{bin,proc,sys,dev,mod,host,rw,new}
  cp "$(command -v busybox)" "$I/bin/busybox"
  modlist() {                                            # modlist NAME MODULE...: copy, list in insmod order
    local name=$1 m f b; shift
    for m; do modprobe -d "$K/root" -S "$REL" --show-depends "$m"; done | awk '$1=="insmod" && !s[$2]++ {print $2}' |
    while read -r f; do b=$(basename "${f%.xz}" .ko)
      case $f in *.xz) xz -dc "$f";; *) cat "$f";; esac > "$I/mod/$b.ko"; echo "$b"
    done > "$I/mod/$name.list"; }
  modlist base virtio_pci virtio_net 9pnet_virtio 9p overlay
  modlist vivid vivid
  modlist uvc uvcvideo vhci-hcd
  modlist disks virtio_blk dm-log-writes dm-snapshot ext4 xfs
  cat > "$I/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin; export PATH=/bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
mkdir -p /dev/pts /dev/shm; mount -t devpts p /dev/pts; mount -t tmpfs t /dev/shm
load() { while read -r m; do                             # load LIST [options for the module of that name]
    [ -d "/sys/module/$(echo "$m" | tr - _)" ] && continue
    o=; [ "$m" = "$1" ] && o=$2; insmod "/mod/$m.ko" $o || echo "rig: insmod $m failed"
  done < "/mod/$1.list"; }
load base
P=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o ro,cache=loose,$P host /host              # the host's /
mount -t tmpfs -o size=60% t /rw; mkdir /rw/u /rw/w
mount -t overlay -o lowerdir=/host,upperdir=/rw/u,workdir=/rw/w o /new
for d in proc sys dev; do mount --rbind /$d /new/$d; done; mount -t tmpfs t /new/run
mkdir -p "/new$share"; mount -t 9p -o rw,$P share "/new$share"
ifconfig lo 127.0.0.1 up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up && route add default gw 10.0.2.2
for driver in $(echo "$cam" | tr , ' '); do
  case $driver in vivid|uvc|disks) load $driver "$(cat "/new$share/.rig/vivid")";; esac; done
cut -d' ' -f1 /proc/uptime > "/new$share/.rig/ready"
chroot /new /bin/bash "$share/.rig/guest.sh"; rc=$?
dmesg > "/new$share/.rig/dmesg"; echo $rc > "/new$share/.rig/rc"; sync; reboot -f
INIT
  chmod +x "$I/init"; ( cd "$I" && find . | cpio -o -H newc --quiet | gzip -1 ) > "$K/initramfs.gz"
fi
exec 9>&-

# ---- what the guest runs -------------------------------------------------------------------
rm -f "$R/rc" "$R/ready"; echo "$VIVID" > "$R/vivid"
{ echo "export HOME=/root TERM=dumb SHARE='$SHARE' PATH='$PATH'; cd '$SHARE'"
  if [[ ,$CAM, = *,uvc,* ]]; then
    echo "/usr/bin/python3 -S '$RIG/uvccam.py' --ctl /run/uvccam $UVCCAM > '$R/uvccam.log' 2>&1 &
          for i in {1..200}; do [ -e /dev/video0 ] && break; sleep .1; done"; fi
  case $# in 0) echo "v4l2-ctl --list-formats-ext";; 1) echo "$1";; *) printf '%q ' "$@"; echo;; esac
} > "$R/guest.sh"

net=user,id=n0,restrict=on
for f in $HOSTFWD; do net+=,hostfwd=tcp:127.0.0.1:${f%%:*}-:${f##*:}; done
disks=; for d in $DISKS; do disks+=" -drive file=$d,format=raw,if=virtio,cache=unsafe"; done
case $ACCEL in kvm) accel="-accel kvm -cpu host";; *) accel="-accel tcg,thread=multi,tb-size=256 -cpu max";; esac
case $V in '') quiet="quiet loglevel=0";; *) quiet="earlyprintk=serial";; esac

# ---- boot ----------------------------------------------------------------------------------
[[ ,$CAM, != *,uvc,* || $UVCCAM != *"$CACHE/frame.jpg"* ]] || [ -e "$CACHE/frame.jpg" ] ||  # the default image
  ffmpeg -hide_banner -loglevel error -f lavfi -i testsrc=size=640x480 -frames:v 1 -q:v 4 -pix_fmt yuvj420p "$CACHE/frame.jpg"
st=0
timeout --foreground -k 5 "$LIMIT" qemu-system-x86_64 $accel -smp "$SMP" -m "$MEM" -display none -nodefaults -no-reboot \
  -serial stdio -kernel "$K/vmlinux" -initrd "$K/initramfs.gz" \
  -append "console=ttyS0 $quiet panic=-1 nokaslr mitigations=off nowatchdog cam=$CAM${DISKS:+,disks} share=$SHARE $APPEND" \
  -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
  -virtfs local,path="$SHARE",mount_tag=share,security_model=none \
 $disks -netdev "$net" -device virtio-net-pci,netdev=n0,romfile= </dev/null | stdbuf -oL tr -d '\r' || st=$?
[ -e "$R/rc" ] && exit "$(cat "$R/rc")"
[ "$st" = 124 ] && exit 124 || exit 125
