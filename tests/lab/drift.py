"""Changes that a colleague or an intruder may make on a host, besides the contents of files."""

from __future__ import annotations

# Changes that one deploy reverts, by the address that a check must report.
MENDED = {
    "mount:/mnt/drive1": "sed -i '1i UUID=11111111-2222-3333-4444-555555555555 /mnt/drive1/ ext4 defaults 0 2' /etc/fstab",
    "mount:/mnt/drive2": "mount -o remount,ro /mnt/drive2",
    "mount:/mnt/drive3": "mount -o remount,noexec,relatime /mnt/drive3",
    "directory:/mnt/drive4/drive4": "chmod 777 /mnt/drive4",
    "user:stowage": "usermod -aG docker -s /bin/bash -d /root stowage; echo stowage:known | chpasswd",
    "group:stowage": "usermod -aG stowage operator",
    "permissions:drives": "chmod 666 /etc/fstab",
    "permissions:/var/lib/stowage": "chmod 777 /var/lib/stowage; chmod 666 /var/lib/stowage/applied",
    "permissions:compose files": "chmod 777 /etc/stowage/minio/compose.yaml",
    "permissions:daemon.json": "chmod 666 /etc/docker/daemon.json",
    "directory:/etc/stowage": "chmod 757 /etc/stowage",
    "directory:/etc/stowage/minio/secrets": "chmod 755 /etc/stowage/minio/secrets",
    "file:/etc/sysctl.d/60-stowage.conf": "ln /etc/sysctl.d/60-stowage.conf /root/second-name",
    "file:/etc/updatedb.conf": "ln -sf /etc/shadow /etc/updatedb.conf",
}

# Changes that a person must decide on: how to make them, how to undo them, and what the advice names.
REFUSED = {
    "mount:/mnt/drive1": (
        "printf '[Mount]\\nWhat=/dev/gone\\nWhere=/mnt/drive1\\n' >/etc/systemd/system/mnt-drive1.mount",
        "rm /etc/systemd/system/mnt-drive1.mount",
        "rm -r /etc/systemd/system/mnt-drive1.mount; systemctl daemon-reload",
    ),
    "mount:/mnt/drive2": ("mount /mnt/drive2", "umount /mnt/drive2", "umount /mnt/drive2"),
    "mount:/mnt/drive3": (
        "mount -t tmpfs foreign /mnt/drive3/drive3",
        "umount /mnt/drive3/drive3",
        "umount /mnt/drive3/drive3",
    ),
    "mount:/mnt/drive4": (
        "echo 'UUID=1 /mnt/drive4/drive4/more ext4 nofail 0 0' >>/etc/fstab",
        "sed -i /more/d /etc/fstab",
        "out of /etc/fstab",
    ),
    "boot:/etc/fstab": (
        "echo 'UUID=2 /data ext4 defaults 0 2' >>/etc/fstab",
        "sed -i '/ .data /d' /etc/fstab",
        "out of /etc/fstab",
    ),
    "outranked:/etc/sysctl.d/60-stowage.conf": (
        "echo 'net/core/somaxconn=128' >/etc/sysctl.d/99-local.conf",
        "rm /etc/sysctl.d/99-local.conf",
        "/etc/sysctl.d/99-local.conf",
    ),
    "file:/etc/updatedb.conf": (
        "echo >>/etc/updatedb.conf; chattr +i /etc/updatedb.conf",
        "chattr -i /etc/updatedb.conf",
        "chattr -i -a /etc/updatedb.conf",
    ),
}
