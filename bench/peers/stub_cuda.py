"""Lets PyPI's Linux torch, which is linked against CUDA, be imported where the gigabytes of CUDA libraries are not.

In:  the folder torch/lib of an installed torch; a C compiler and readelf on the PATH.
Out: beside torch's libraries, one empty stand-in for each CUDA library that is missing. It has the symbols that torch's
     own libraries name, at the versions they ask for, and nothing behind them: no code that runs without a GPU calls one.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile


def readelf(option, library):
    return subprocess.run(["readelf", "-W", option, library], check=True, text=True, capture_output=True).stdout


def missing_sonames(folder, libraries):
    """Sonames that some library needs and that neither torch's folder, the nvidia packages' nor the system's have."""
    have = {path.name for path in folder.glob("*.so*")}
    have |= {path.name for path in folder.parent.parent.glob("nvidia/*/lib/*.so*")}
    needed = set()
    for library in libraries:
        needed |= set(re.findall(r"NEEDED.*\[(.*?)\]", readelf("--dynamic", library)))
    cuda = re.compile(r"lib(cu|nv|nccl)")
    return {name for name in needed - have if cuda.match(name)}


def wanted_symbols(libraries):
    """{(version or None): symbols} that are undefined in the libraries, and {version: soname it is asked of}."""
    symbols, owner = {}, {}
    for library in libraries:
        soname = None
        for line in readelf("--version-info", library).splitlines():
            if match := re.search(r"Version: 1\s+File: (\S+)", line):
                soname = match[1]
            elif match := re.search(r"\sName: (\S+)\s+Flags", line):
                owner[match[1]] = soname
        for line in readelf("--dyn-syms", library).splitlines():
            fields = line.split()
            if len(fields) >= 8 and fields[6] == "UND" and fields[4] != "WEAK":
                name, _, version = fields[7].partition("@")
                symbols.setdefault(version.strip("@") or None, set()).add(name)
    return symbols, owner


def write_stub(folder, soname, versions):
    """versions: {version or None: symbols}. Data of a page each, so that an address is all there is to be had."""
    with tempfile.TemporaryDirectory() as scratch:
        source, script = pathlib.Path(scratch, "stub.c"), pathlib.Path(scratch, "stub.map")
        names = sorted(set().union(*versions.values()))
        source.write_text("".join(f"char {name}[64];\n" for name in names))
        named = {version: sorted(found) for version, found in versions.items() if version}
        script.write_text("".join(f"{version} {{ global: {'; '.join(found)}; }};\n" for version, found in named.items()))
        command = [os.environ.get("CC", "cc"), "-shared", "-w", "-o", folder / soname, f"-Wl,-soname,{soname}", source]
        subprocess.run(command + ([f"-Wl,--version-script={script}"] if named else []), check=True)


def main():
    folder = pathlib.Path(sys.argv[1])
    libraries = sorted(folder.glob("libtorch*.so")) + sorted(folder.glob("libc10*.so"))
    missing = missing_sonames(folder, libraries)
    symbols, owner = wanted_symbols(libraries)
    unversioned = re.compile(r"(nccl|cudnn|cusparseLt|nvshmem|nvrtc|cufft|cublas|cusparse|cusolver)[A-Z_]?")
    for soname in sorted(missing):
        versions = {version: found for version, found in symbols.items() if version and owner.get(version) == soname}
        prefix = re.match(r"lib(\w+?)(_host)?\.so", soname)[1]
        plain = {name for name in symbols.get(None, ()) if unversioned.match(name) and name.startswith(prefix)}
        if plain and not versions:
            versions[None] = plain
        write_stub(folder, soname, versions or {None: {"fsmoe_peer_stub"}})
    print(f"stood in for {len(missing)} CUDA libraries: {' '.join(sorted(missing))}")


if __name__ == "__main__":
    main()
