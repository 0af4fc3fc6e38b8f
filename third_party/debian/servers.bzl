"""Real servers and programs for this repository's tests; never for an image."""

load("//tools/apt:repositories.bzl", "deb_tree")

# A `*` stands for what changes with a version.
_PROGRAMS = {
    "git": ["usr/bin/git"],
    "nginx": ["usr/sbin/nginx"],
    "postgres": [
        "usr/lib/postgresql/*/bin/initdb",
        "usr/lib/postgresql/*/bin/postgres",
    ],
    "rabbitmq": [
        "usr/lib/erlang/erts-*/bin/" + tool
        for tool in [
            "beam.smp",
            "epmd",
            "erl_child_setup",
            "erlexec",
            "inet_gethost",
        ]
    ],
    "readers": [
        "usr/bin/skopeo",
        "usr/bin/umoci",
    ],
    "redis": ["usr/bin/redis-server"],
    "registry": ["usr/bin/docker-registry"],
}

def test_servers():
    """Declare a repository for each group; its root has a link to each program."""
    for name, programs in _PROGRAMS.items():
        deb_tree(
            name = name,
            build_file = Label(":service.BUILD"),
            groups = [name],
            launchers = {program: program for program in programs},
            lock = "@pinned_image_debian//:{}.lock.json".format(name),
            pins_hub = "@pinned_image_debian",
        )

def conformance_programs():
    """Declare the programs of others that tools/conformance holds our images to, from their own lock."""
    deb_tree(
        name = "conformance",
        build_file = Label(":conformance.BUILD"),
        groups = [
            "programs",
            "libraries",
            "reports",
            "python",
        ],
        # They run in a root of their own, by their own loader.
        launchers = {},
        lock = Label(":conformance.lock.json"),
    )

def executors():
    """Declare a cache and a worker for remote execution, of the same lock: only Debian's testing suite has them."""
    deb_tree(
        name = "buildbox",
        build_file = Label(":service.BUILD"),
        groups = [
            "executors",
            "libraries",
        ],
        launchers = {
            "usr/bin/buildbox-" + program: "usr/bin/buildbox-" + program
            for program in [
                "casd",
                "run-hosttools",
                "worker",
            ]
        },
        lock = Label(":conformance.lock.json"),
    )
