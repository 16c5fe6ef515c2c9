"""Runs on a broker: offers the installed RabbitMQ under another version, in a package source on its own disk."""

import gzip
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys

given = json.load(sys.stdin)
source = pathlib.Path("/etc/apt/sources.list.d/offer.list")
place = pathlib.Path("/srv/offer")
shutil.rmtree(place, ignore_errors=True)
source.unlink(missing_ok=True)
if given["version"]:
    tree = place / "tree"
    tree.parent.mkdir(parents=True)

    def run(*words):
        subprocess.run(words, check=True, cwd=place, stdout=subprocess.DEVNULL)

    run("apt-get", "-qq", "update")
    run("apt-get", "-qq", "download", "rabbitmq-server=" + given["base"])
    run("dpkg-deb", "-R", str(next(place.glob("*.deb"))), str(tree))
    control = tree / "DEBIAN" / "control"
    text = control.read_text().replace("Version: " + given["base"], "Version: " + given["version"])
    control.write_text(text)
    package = place / "offered.deb"
    next(place.glob("rabbitmq-server_*.deb")).unlink()
    run("dpkg-deb", "-Znone", "-b", str(tree), str(package))
    data = package.read_bytes()
    entry = f"Filename: ./offered.deb\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    index = (text.rstrip("\n") + "\n" + entry).encode()
    (place / "Packages.gz").write_bytes(gzip.compress(index))
    shutil.rmtree(tree)
    source.write_text(f"deb [trusted=yes] file:{place} ./\n")
print(json.dumps({}))
