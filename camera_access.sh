#!/bin/sh
# Take one photo with the first camera program that is installed.
#
#   camera_access.sh PATH      PATH is the image to create; its suffix (.jpg, .png) is its type
#   CAMERA_DEVICE              names the camera if there are several: /dev/video2 for fswebcam and ffmpeg, a number for
#                              rpicam-still, a name (imagesnap -l lists them) for imagesnap
#
# This file is yours: put any other program in its place, or its command alone, such as
#
#   exec gphoto2 --capture-image-and-download --force-overwrite --filename "$1"
#
# The program must write the image to "$1" and exit with status 0 within the capture timeout. The last line of standard
# error is the error message that all viewers see. docs/cameras.md has all requirements. `exec` lets signals reach the
# program.

stop() { # stop STATUS LINE...: print the lines on standard error, the most important one last
    status=$1
    shift
    printf '%s\n' "$@" >&2
    exit "$status"
}

has() { command -v "$1" >/dev/null 2>&1; }

captures() { # captures /dev/videoN: does this node capture images? Cameras also have nodes for metadata.
    if has v4l2-ctl; then
        caps=$(v4l2-ctl --device "$1" --info 2>/dev/null)
        case ${caps#*Device Caps} in *Video\ Capture*) return 0 ;; *) return 1 ;; esac
    fi
    about=/sys/class/video4linux/${1##*/} index=0 name=
    [ -r "$about/index" ] && read -r index <"$about/index"
    [ -r "$about/name" ] && read -r name <"$about/name"
    case $name in *codec* | *isp* | *hevc* | rpivid*) return 1 ;; esac # the Raspberry Pi's, which would wait for input without end
    [ "$index" = 0 ]
}

find_device() { # sets $device to CAMERA_DEVICE or the first node that captures
    device=${CAMERA_DEVICE-}
    if [ -z "$device" ]; then
        for node in /dev/video*; do
            if [ -e "$node" ] && captures "$node"; then
                device=$node
                break
            fi
        done
        [ -n "$device" ] || stop 69 "There is no camera: no /dev/video* captures images. Connect one, or set CAMERA_DEVICE."
    fi
    [ -e "$device" ] || stop 69 "The camera $device is not there: connect it, or set CAMERA_DEVICE to another."
    { [ -r "$device" ] && [ -w "$device" ]; } ||
        stop 77 "The camera $device may not be used by this user: make it a member of the group video."
}

if [ $# -ne 1 ] || [ -z "$1" ]; then
    stop 64 "usage: camera_access.sh PATH    (the image to create)"
fi

# Some programs expand a % in a path, and read a leading - as an option. A file name after ./ avoids both.
case $1 in */*) folder=${1%/*}/ ;; *) folder=./ ;; esac
CDPATH='' cd -- "$folder" || stop 73 "The folder of the image to create is not there."
case ${1##*/} in *%*) stop 64 "The image's name may have no %." ;; esac
image=./${1##*/}
case $image in *.png) type=png ;; *) type=jpg ;; esac

# Use fswebcam or ffmpeg for a camera named /dev/..., even if the Raspberry Pi's programs are installed.
case ${CAMERA_DEVICE-} in /dev/*) v4l2=yes ;; *) v4l2= ;; esac

if has imagesnap; then
    # a second to warm up: the first frames of a Mac's camera are dark
    exec imagesnap -q -w 1 ${CAMERA_DEVICE:+-d "$CAMERA_DEVICE"} "$image"
fi

for program in rpicam-still libcamera-still; do
    if [ -z "$v4l2" ] && has "$program"; then
        # a second for exposure and white balance to settle; without a preview window
        exec "$program" --nopreview --timeout 1000 --quality 93 --encoding "$type" \
            ${CAMERA_DEVICE:+--camera "$CAMERA_DEVICE"} --output "$image"
    fi
done

if has fswebcam; then
    find_device
    case $type in png) quality=--png=-1 ;; *) quality=--jpeg=95 ;; esac
    # the largest image up to 1920x1080; skip the first frames, while the exposure settles
    exec fswebcam --quiet --device "$device" --resolution 1920x1080 --skip 15 --no-banner "$quality" "$image"
fi

if has ffmpeg; then
    set -- -nostdin -hide_banner -loglevel error
    case $(uname) in
    Darwin) set -- "$@" -f avfoundation -framerate 30 -i "${CAMERA_DEVICE:-0}:none" ;;
    *)
        find_device
        set -- "$@" -f v4l2 -video_size 1920x1080 -i "$device"
        ;;
    esac
    exec ffmpeg "$@" -ss 0.7 -frames:v 1 -update 1 -q:v 2 -y "$image"
fi

stop 69 "On macOS:           brew install imagesnap" \
    "On a Raspberry Pi:  sudo apt install rpicam-apps" \
    "On Debian, Ubuntu:  sudo apt install fswebcam" \
    "On Fedora:          sudo dnf install fswebcam" \
    "Elsewhere:          install ffmpeg" \
    "There is no camera program: install fswebcam (Linux), rpicam-apps (Raspberry Pi) or imagesnap (macOS)."
