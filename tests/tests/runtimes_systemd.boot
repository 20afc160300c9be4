# Makes a root file system of the machine's own with what is private to the lab, and becomes systemd
# in it. Runs in namespaces of its own, but for that of the network, which is the lab's host.
set -eu
mount -t tmpfs none $LAB/machine
cd $LAB/machine
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=$LAB/machine/upper,workdir=$LAB/machine/work none root
cd root
mount -t proc none proc
# No setting but those of the lab's network is to be changed from in here.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,rw proc/sys/net
mount -t sysfs -o ro none sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=755 none dev
for device in null zero full random urandom tty; do
  touch dev/$device
  mount --bind /dev/$device dev/$device
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance none dev/pts
mount -t tmpfs none dev/shm
for folder in run tmp var/lib etc/systemd/system etc/cni; do
  mkdir -p $folder
  mount -t tmpfs -o mode=755 none $folder
done
mkdir -p run/cleat run/netns etc/cni/net.d etc/cleat var/lib/cleat usr/local/bin
mount --bind $CLEAT_RUN_DIR run/cleat
mount --bind $CLEAT_STATE_DIR var/lib/cleat
mount --bind $CLEAT_NET_DIR etc/cni/net.d
mount --rbind /run/netns run/netns
cp $PLUGINS/netd usr/local/bin/netd
cp $UNITS/cleat-netd.* etc/systemd/system/
echo 'nameserver 192.0.2.2' >etc/resolv.conf
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >etc/systemd/system/lab.target
mkdir old
pivot_root . old
umount -l /old
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=lab.target
