"""The Lambda package: the parts of the project and of this Python's environment that the function needs."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from aws import Refused
from aws.bytecode import add_bytecode

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ROOT / "var" / "aws"
SOURCES = ("manage.py", "locale", "messaging", "messaging_site", "static", "templates", "zappa_settings.json")
MAKERS = ("aws/bytecode.py", "aws/packaging.py", "aws/rehearsal.py")
IGNORED = {"__pycache__", ".pyc", "tests"}
MOST_BYTES = 12 * 2**20
# Lambda's Python versions and the glibc version of each: wheels that need a newer glibc do not load there.
RUNTIMES = {"3.11": (2, 26), "3.12": (2, 34), "3.13": (2, 34), "3.14": (2, 34)}
PROCESSORS = {"x86_64": "x86_64", "aarch64": "arm64"}  # platform.machine(): Lambda's name
# The environment of programs that run while the package is made: valid settings, with no service at their addresses.
NOBODY = {
    "AWS_LAMBDA_FUNCTION_NAME": "unused",
    "INSTANTIATE_LAMBDA_HANDLER_ON_IMPORT": "1",
    "AWS_REGION": "us-east-1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "unused",
    "AWS_SECRET_ACCESS_KEY": "unused",
    "SECRET_KEY": "unused while the package is made, and long enough for every check",
    "ALLOWED_HOSTS": "unused.example.org",
    "CSRF_TRUSTED_ORIGINS": "https://unused.example.org",
    "DATABASE_URL": "postgres://unused:unused@127.0.0.1:1/unused",
    "CONNECTIONS_TABLE_NAME": "unused",
    "WEBSOCKET_API_ENDPOINT": "http://127.0.0.1:1/ws",
    "WEBSOCKET_PUBLIC_URL": "wss://unused.example.org/ws",
}


def runtime() -> str:
    """Return Lambda's name for this Python.

    Raise Refused if Lambda does not have this version or platform, or if an installed distribution does not run there.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version not in RUNTIMES:
        raise Refused(f"Lambda does not support Python {version}: build the package with one of {', '.join(RUNTIMES)}")
    if sys.platform != "linux" or platform.machine() not in PROCESSORS:
        raise Refused("The package contains compiled code: build it on Linux (x86_64 or aarch64), as used by Lambda")
    if foreign := [name for distribution in distributions() for name in _foreign(distribution, RUNTIMES[version])]:
        raise Refused(f"These packages do not run on Lambda's Python {version}: {', '.join(sorted(foreign))}")
    return f"python{version}"


def processor() -> str:
    """Return Lambda's name for this machine's processor."""
    return PROCESSORS[platform.machine()]


def package(stage: str) -> Path:
    """Return the path of the package of `stage`, a key of zappa_settings.json.

    Make the package if anything that goes into it has changed. Raise Refused if it can't be made, is larger than
    MOST_BYTES, or would not start.
    """
    result = PACKAGES / f"{stage}-{_fingerprint()}.zip"
    if result.exists():
        print(f"{result.relative_to(ROOT)} is up to date", flush=True)
        return result
    print(f"Packaging {', '.join(SOURCES)} and {sys.prefix} for {runtime()} on {processor()}", flush=True)
    PACKAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PACKAGES) as directory:
        project = Path(directory) / "project"
        _copy_sources(project)
        _run(project, "python", "manage.py", "collectstatic", "--noinput", "--verbosity=0")
        bare, made = Path(directory) / "bare.zip", Path(directory) / "package.zip"
        _run(project, "zappa", "package", stage, "--output", str(bare))
        add_bytecode(bare, made, _loaded(bare, Path(directory) / "function"))
        _check_size(made)
        for older in set(PACKAGES.glob(f"{stage}-*.zip")) - {result}:
            older.unlink(missing_ok=True)
        made.replace(result)  # atomic: another deployment may be uploading the same package
    print(f"Built {result.relative_to(ROOT)}", flush=True)
    return result


def _fingerprint() -> str:
    """Return a hash of everything that goes into the package and of the code that makes it."""
    content = hashlib.sha256(f"{runtime()} {processor()}".encode())
    for path in sorted(path for name in (*SOURCES, *MAKERS) for path in _files(ROOT / name)):
        content.update(f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
    content.update(repr(sorted((found.name, found.version) for found in distributions())).encode())
    return content.hexdigest()[:24]


def _files(path: Path) -> list[Path]:
    found = path.rglob("*") if path.is_dir() else [path]
    return [path for path in found if path.is_file() and not IGNORED & {path.suffix, *path.parts}]


def _check_size(archive: Path) -> None:
    size = archive.stat().st_size
    if size > MOST_BYTES:
        raise Refused(f"The package has {size / 2**20:.1f} MiB; at most {MOST_BYTES // 2**20} MiB are allowed")
    with zipfile.ZipFile(archive) as opened:
        unpacked = sum(entry.file_size for entry in opened.infolist())
    print(f"{size / 2**20:.1f} MiB, unpacked {unpacked / 2**20:.1f} MiB", flush=True)


def _copy_sources(project: Path) -> None:
    for name in SOURCES:
        for source in _files(ROOT / name):
            target = project / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def _loaded(package: Path, directory: Path) -> list[str]:
    """Return the files of `package` that a new process loads. Raise Refused if the function would not start."""
    with zipfile.ZipFile(package) as archive:
        archive.extractall(directory)
    output = _run(directory, "python", str(Path(__file__).with_name("rehearsal.py")))
    files: list[str] = json.loads(output.splitlines()[-1])
    return files


def _run(directory: Path, program: str, *arguments: str) -> str:
    """Return the standard output of a program of this environment. Raise Refused with its output if it fails."""
    environment = NOBODY | {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "VIRTUAL_ENV": sys.prefix,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [str(Path(sys.prefix) / "bin" / program), *arguments]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise Refused(f"{program} {arguments[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _foreign(distribution: Distribution, libc: tuple[int, int]) -> Iterator[str]:
    """Yield the name and the tags of `distribution` if its compiled code does not run on Lambda's system."""
    wheel = distribution.read_text("WHEEL") or ""
    tags = [tag.rsplit("-", 1)[1] for tag in re.findall(r"^Tag: (\S+)$", wheel, re.MULTILINE)]
    if tags and not any(_runs_with(tag, libc) for tag in tags):
        yield f"{distribution.name} ({', '.join(tags)})"


def _runs_with(tag: str, libc: tuple[int, int]) -> bool:
    if tag == "any":
        return True
    if tag.startswith("manylinux2014_"):
        return libc >= (2, 17)
    version = re.match(r"manylinux_(\d+)_(\d+)_", tag)
    return version is not None and libc >= (int(version[1]), int(version[2]))
