"""Who waits for whom while a plan is performed: the one drawing of it.

Time goes down; what is in [brackets] is in some plans only.

    kokon (Python)                  stage 1 of init                 stage 2 of init

    compile, check
    [v1, v2: make the cgroups]
    posix_spawn ─────── plan ─────> reads and checks it, closes
                                    what was not handed over
    [login session: systemd   <──── [AwaitParent: READY]
     makes a scope with stage 1
     in it, kokon the cgroup] ────> [Open: that cgroup]
    [--systemd-cgroup: systemd <─── [AwaitParent: READY]
     makes the container's scope
     with stage 1 in it]      ────>
                                    Clone ────────────────────────> waits for Release, or for
    notes the pid <──────────────── PID                             the end of stage 1
    [newuidmap, newgidmap]  <────── [AwaitParent: READY]
                              ────> [IdMap, where kokon did not]
                                    [UserNamespace] OOM score
                                    [/dev, layers, volumes: where
                                     it may mount]
    waitpid(stage 1) <───────────── Release ──────────────────────> [JoinCgroup, by v1 ``tasks``]
                                    ends; or, in systemd's scope,   [Unshare: cgroup, time]
                                    stays until kokon lets go       session, propagation, label
                                                                    root, mounts
    [relays the terminal] <──────── SCM_RIGHTS ──────────────────── [Terminal]
                                                                    masks, Pivot, limits
                                                                    ids, capabilities, filter
    [the seccomp agent]       <──── SCM_RIGHTS ──────────────────── [SendListener: a thread that
                                                                     the filter's load waits for]
    [notes that it runs] <───────── STARTED ─────────────────────── [Reap: goes on in a child]
    end of the reports <─────────── close-on-exec ───────────────── Execute: it is the program
    [the program's status] <─────── STATUS ──────────────────────── [Reap: the child has ended]
    wait4(stage 2)

Stage 2 is a child of kokon's (CLONE_PARENT), so that it can be waited for; where kokon is process 1
of its pid namespace, it is stage 1's, and comes to kokon when that ends.  Until then both stages
share one table of descriptors (CLONE_FILES) and the slots' numbers: a mount that stage 1 takes is
there for stage 2.  READY is answered by one byte on the reply pipe, in the order of the plan.

A step that fails is reported (FAILED: op, errno, detail), and is the last:

    before Clone        stage 1 ends with 125; there is no pid
    after Clone         stage 1 ends stage 2 by SIGKILL, then itself
    in stage 2          it ends with 125; the program has not run
    stage 1 is killed   its pidfd says so to stage 2, which ends with 125
    kokon is killed     the reply pipe ends and AwaitParent fails; with ParentDeath stage 2 dies
                        with the thread that spawned it, or finds that nobody reads its reports

The places where this is code: ``compile/container.py`` (the order of the ops), ``runtime/spawn.py``
(kokon's side), ``init/main.c`` and ``init/choreography.c`` (the stages), ``plan/check.py`` (what
must hold of every plan).
"""
