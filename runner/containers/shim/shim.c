/*
 * pfs-shim: PID 1 of a worker container.
 *
 * usage: pfs-shim SOCKET     connect to the runner and serve its requests
 *        pfs-shim --check    exit 0 (proof that an OCI runtime can start a container)
 *
 * One static binary without any dependency, bind-mounted into every worker container, so that
 * a command can be run in an image that has not even a shell.  It serves one run at a time.
 *
 * Promises
 *   - The end of a run is reported when nothing that the run started is alive any more and
 *     every byte of its output has been sent.
 *   - Memory is bounded whatever the command writes: output is read only when the frame
 *     before it has left, so a slow runner slows the command down.
 *   - The runner is always heard: nothing here blocks but poll().
 *   - When the connection ends, this process ends, and with it (it is PID 1) the container.
 *
 * Frames, both ways: one byte type, four bytes length (little endian), payload.  All numbers
 * are little endian.  runner/containers/protocol.py is the other end.
 *
 *   shim to runner
 *     H  hello: u32 protocol version; sent once, first
 *     O  bytes of standard output
 *     E  bytes of standard error
 *     W  wants the next piece of standard input; empty payload
 *     D  done: u8 kind (0 exited, 1 signalled, 2 not started), u8 flags (1 timed out,
 *        2 cancelled, 4 the kernel killed something for lack of memory), u8 stage (kind 2
 *        only: see STAGE_ below), u8 zero, u32 value (exit code, signal or errno),
 *        i64 started ns, i64 finished ns (CLOCK_REALTIME),
 *        i64 user us, i64 system us, i64 max RSS bytes, then the path that failed (kind 2)
 *
 *   runner to shim
 *     R  run: u32 timeout ms (0: none), u32 grace ms, u32 flags (1: more input follows),
 *        u32 argc, u32 envc, then NUL-terminated strings: working directory, user
 *        ("", uid, uid:gid, name, name:group), argc arguments, envc "NAME=value";
 *        all that is left is the beginning of standard input
 *     I  the next piece of standard input, one for each W; empty: the end
 *     C  cancel: u32 grace ms; ignored when nothing runs
 *
 * Standard input goes piece by piece on request, because a cancel must never wait behind
 * input that the command does not read.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROTOCOL_VERSION 1

#define HEADER_BYTES 5
#define OUTPUT_BYTES 65536           /* one frame of output: what a pipe holds */
#define REQUEST_BYTES (16u << 20)    /* more than the kernel accepts as arguments and environment */

#define FLAG_MORE_INPUT 1u

#define FLAG_TIMED_OUT 1u
#define FLAG_CANCELLED 2u
#define FLAG_OUT_OF_MEMORY 4u

#define KIND_EXITED 0
#define KIND_SIGNALLED 1
#define KIND_NOT_STARTED 2

/* Where starting the command failed. */
#define STAGE_FORK 1                 /* no process, pipe or memory to be had */
#define STAGE_USER 2                 /* no such user or group in the image, or not allowed */
#define STAGE_CHDIR 3                /* the working directory */
#define STAGE_EXEC 4                 /* the program itself */
#define STAGE_INTERPRETER 5          /* the program is there, its interpreter or loader is not */

#define EXIT_USAGE 64
#define EXIT_PROTOCOL 70
#define EXIT_CONNECT 71

#define MILLISECOND 1000000LL
#define SECOND 1000000000LL
#define NEVER INT64_MAX

/*
 * What the child says through its close-on-exec pipe when the command cannot be started.
 * Not above PIPE_BUF, so that the write never waits for a reader.
 */
struct start_failure {
    uint8_t stage;
    int32_t error;
    char path[PIPE_BUF - 8];
};

struct run {
    bool active;
    pid_t main;                      /* the command; 0 once it is reaped */
    int status;                      /* of the command, as wait4 gives it */
    bool killing;                    /* the command ended: everything else is being killed */
    bool all_dead;                   /* nothing is left to reap */
    bool timed_out, cancelled;
    struct start_failure failure;    /* stage 0: started */

    char *request;                   /* the R payload; arguments and input point into it */
    char **argv, **envp;
    const char *directory, *user;
    uint32_t grace_ms;

    char *input_buffer;              /* an I payload, or NULL while `input` is within request */
    const char *input;               /* not yet written */
    size_t input_left;
    bool more_input;                 /* the runner has more */
    bool input_wanted;               /* W is due */

    int in, out, err, failure_pipe;  /* our ends; -1: closed */
    int64_t terminate_at, kill_at;   /* CLOCK_MONOTONIC */
    int64_t started_ns;
    int64_t user_us, system_us, max_rss;
};

struct incoming {
    uint8_t header[HEADER_BYTES];
    char *payload;
    size_t length, have;             /* have counts header and payload together */
};

struct outgoing {
    uint8_t frame[HEADER_BYTES + OUTPUT_BYTES];
    size_t length, sent;             /* length 0: nothing waits */
};

static int connection = -1;
static int child_signal = -1;
static int memory_events = -1;       /* counts what the kernel killed for lack of memory */
static uint64_t memory_kills;        /* as of the end of the run before */
static struct incoming incoming;
static struct outgoing outgoing;
static struct run run;

/* ---- small things ---------------------------------------------------------------------- */

static void say(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        return;                      /* nobody listens; the exit status still tells */
}

static _Noreturn void die(int status, const char *what, int error)
{
    say("pfs-shim: ");
    say(what);
    if (error) {
        say(": ");
        say(strerror(error));
    }
    say("\n");
    _exit(status);                   /* PID 1 ends: the kernel kills everything in the container */
}

static void *allocate(size_t size)
{
    void *memory = malloc(size);
    if (!memory)
        die(EXIT_PROTOCOL, "no memory", ENOMEM);
    return memory;
}

static void close_end(int *end)
{
    if (*end >= 0)
        close(*end);
    *end = -1;
}

static int64_t now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static uint32_t get_u32(const void *from)
{
    const uint8_t *b = from;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static void put_number(uint8_t *to, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

/* ---- frames to the runner -------------------------------------------------------------- */

static void flush_output(void)
{
    while (outgoing.length) {
        ssize_t n = send(connection, outgoing.frame + outgoing.sent,
                         outgoing.length - outgoing.sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EAGAIN)
                return;
            die(EXIT_CONNECT, "the runner is gone", errno);
        }
        outgoing.sent += (size_t)n;
        if (outgoing.sent == outgoing.length)
            outgoing.length = outgoing.sent = 0;
    }
}

/* Send the payload that already lies in outgoing.frame.  Only when nothing else waits. */
static void send_frame(uint8_t type, size_t payload)
{
    outgoing.frame[0] = type;
    put_number(outgoing.frame + 1, payload, 4);
    outgoing.length = HEADER_BYTES + payload;
    outgoing.sent = 0;
    flush_output();
}

static void send_hello(void)
{
    put_number(outgoing.frame + HEADER_BYTES, PROTOCOL_VERSION, 4);
    send_frame('H', 4);
}

/* Tell whether the kernel killed anything of the container for lack of memory since the last look. */
static bool ran_out_of_memory(void)
{
    char text[1024];
    ssize_t length = memory_events < 0 ? -1 : pread(memory_events, text, sizeof text - 1, 0);
    if (length <= 0)
        return false;
    text[length] = 0;
    const char *count = strstr(text, "oom_kill ");
    uint64_t kills = count ? strtoull(count + strlen("oom_kill "), NULL, 10) : 0;
    bool more = kills > memory_kills;
    memory_kills = kills;
    return more;
}

static void send_done(void)
{
    uint8_t *to = outgoing.frame + HEADER_BYTES;
    const struct start_failure *failure = &run.failure;
    size_t path = failure->stage ? strlen(failure->path) : 0;
    uint8_t kind = WIFSIGNALED(run.status) ? KIND_SIGNALLED : KIND_EXITED;
    uint32_t value = WIFSIGNALED(run.status) ? (uint32_t)WTERMSIG(run.status)
                                             : (uint32_t)WEXITSTATUS(run.status);
    if (failure->stage) {
        kind = KIND_NOT_STARTED;
        value = (uint32_t)failure->error;
    }
    to[0] = kind;
    to[1] = (uint8_t)((run.timed_out ? FLAG_TIMED_OUT : 0) | (run.cancelled ? FLAG_CANCELLED : 0)
                      | (ran_out_of_memory() ? FLAG_OUT_OF_MEMORY : 0));
    to[2] = failure->stage;
    to[3] = 0;
    put_number(to + 4, value, 4);
    put_number(to + 8, (uint64_t)run.started_ns, 8);
    put_number(to + 16, (uint64_t)now(CLOCK_REALTIME), 8);
    put_number(to + 24, (uint64_t)run.user_us, 8);
    put_number(to + 32, (uint64_t)run.system_us, 8);
    put_number(to + 40, (uint64_t)run.max_rss, 8);
    memcpy(to + 48, failure->path, path);
    send_frame('D', 48 + path);
}

/* ---- the child: from fork to exec ------------------------------------------------------ */

static _Noreturn void give_up(int report, uint8_t stage, int error, const char *path)
{
    struct start_failure failure = {.stage = stage, .error = error};
    strncpy(failure.path, path, sizeof failure.path - 1);
    ssize_t written = write(report, &failure, sizeof failure);
    _exit(written == (ssize_t)sizeof failure ? 127 : 126);
}

/* Read a small file of the image whole; NULL if it is not there.  The child never frees. */
static char *read_file(const char *path)
{
    const size_t most = 4u << 20;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return NULL;
    char *text = allocate(most + 1);
    size_t have = 0;
    ssize_t n = 0;
    while (have < most && (n = read(file, text + have, most - have)) > 0)
        have += (size_t)n;
    close(file);
    text[have] = 0;
    return text;
}

/* Split off the next field of a line of /etc/passwd or /etc/group. */
static char *field(char **line)
{
    char *start = *line;
    if (start)
        strsep(line, ":");
    return start ? start : "";
}

static bool is_number(const char *text, uint32_t *number)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value >= UINT32_MAX)
        return false;
    *number = (uint32_t)value;
    return true;
}

struct identity {
    uid_t uid;
    gid_t gid;
    const char *name, *home;         /* from /etc/passwd; NULL and "/" without an entry */
    gid_t groups[NGROUPS_MAX / 64];
    size_t group_count;
};

static bool find_user(const char *wanted, struct identity *who)
{
    bool numeric = is_number(wanted, &who->uid);
    char *rest = read_file("/etc/passwd"), *line;
    while ((line = strsep(&rest, "\n"))) {
        char *name = field(&line);
        field(&line);                /* password */
        char *uid = field(&line), *gid = field(&line);
        field(&line);                /* full name */
        char *home = field(&line);
        uint32_t uid_number, gid_number;
        if (!is_number(uid, &uid_number) || !is_number(gid, &gid_number))
            continue;
        if (numeric ? uid_number != who->uid : strcmp(name, wanted) != 0)
            continue;
        who->uid = uid_number;
        who->gid = gid_number;
        who->name = name;
        if (*home)
            who->home = home;
        return true;
    }
    return numeric;
}

static bool is_member(char *members, const char *user)
{
    char *member;
    while ((member = strsep(&members, ",")))
        if (strcmp(member, user) == 0)
            return true;
    return false;
}

/* Find the group called `wanted`, or (NULL) collect the groups that list who->name. */
static bool find_groups(const char *wanted, struct identity *who)
{
    if (wanted && is_number(wanted, &who->gid))
        return true;
    char *rest = read_file("/etc/group"), *line;
    while ((line = strsep(&rest, "\n"))) {
        char *name = field(&line);
        field(&line);                /* password */
        char *gid = field(&line), *members = field(&line);
        uint32_t number;
        if (!is_number(gid, &number))
            continue;
        if (wanted && strcmp(name, wanted) == 0) {
            who->gid = number;
            return true;
        }
        const size_t most = sizeof who->groups / sizeof who->groups[0];
        if (!wanted && who->name && who->group_count < most && is_member(members, who->name))
            who->groups[who->group_count++] = number;
    }
    return wanted == NULL;
}

/* Resolve "", uid, uid:gid, name or name:group as Podman resolves the USER of an image. */
static bool resolve(const char *user, struct identity *who)
{
    char *text = allocate(strlen(user) + 1);
    strcpy(text, user);
    char *group = text;
    strsep(&group, ":");
    if (!find_user(*text ? text : "0", who))
        return false;
    return find_groups(group && *group ? group : NULL, who);
}

static const char *lookup(char *const *envp, const char *name)
{
    size_t length = strlen(name);
    for (; *envp; envp++)
        if (strncmp(*envp, name, length) == 0 && (*envp)[length] == '=')
            return *envp + length + 1;
    return NULL;
}

/* The given environment, and HOME where it is missing, as every container engine sets it. */
static char **with_home(char **envp, const char *home)
{
    if (lookup(envp, "HOME"))
        return envp;
    size_t count = 0;
    while (envp[count])
        count++;
    char **all = allocate((count + 2) * sizeof *all);
    memcpy(all, envp, count * sizeof *all);
    char *entry = allocate(sizeof "HOME=" + strlen(home));
    strcpy(entry, "HOME=");
    strcat(entry, home);
    all[count] = entry;
    all[count + 1] = NULL;
    return all;
}

/* Execute a file; like execvpe, give a file without a #! line to the shell. */
static int execute(const char *path, char **argv, char **envp)
{
    execve(path, argv, envp);
    if (errno != ENOEXEC)
        return errno;
    size_t count = 0;
    while (argv[count])
        count++;
    char **shell = allocate((count + 2) * sizeof *shell);
    shell[0] = "/bin/sh";
    shell[1] = (char *)path;
    memcpy(shell + 2, argv + 1, count * sizeof *shell);    /* with the closing NULL */
    execve(shell[0], shell, envp);
    return ENOEXEC;
}

static _Noreturn void execute_named(int report, char **argv, char **envp)
{
    const char *name = argv[0];
    if (strchr(name, '/')) {
        int error = execute(name, argv, envp);
        bool there = error == ENOENT && access(name, F_OK) == 0;
        give_up(report, there ? STAGE_INTERPRETER : STAGE_EXEC, error, name);
    }
    const char *path = lookup(envp, "PATH");
    static char candidate[PATH_MAX], refused[PATH_MAX];
    int refusal = 0;
    if (!path)
        path = "/bin:/usr/bin";      /* the default of execvpe */
    for (const char *end; *name; path = end + 1) {
        end = strchrnul(path, ':');
        size_t length = (size_t)(end - path);
        if (length + 1 + strlen(name) < sizeof candidate) {
            memcpy(candidate, path, length);
            if (length)              /* an empty element means the working directory */
                candidate[length++] = '/';
            strcpy(candidate + length, name);
            int error = execute(candidate, argv, envp);
            bool there = error == ENOENT && access(candidate, F_OK) == 0;
            /* Go on looking, but remember the first file that was there and could not be run. */
            if (!refusal && (there || (error != ENOENT && error != ENOTDIR))) {
                refusal = error;
                strcpy(refused, candidate);
            }
        }
        if (!*end)
            break;
    }
    if (refusal)
        give_up(report, refusal == ENOENT ? STAGE_INTERPRETER : STAGE_EXEC, refusal, refused);
    give_up(report, STAGE_EXEC, ENOENT, name);
}

/*
 * Gives every signal its default, also the two that glibc keeps for itself (32 and 33) and that
 * sigaction() refuses to name: its posix_spawn starts programs with them ignored, so whether they
 * are depends on who started Podman.  All zeros is SIG_DFL whatever the order of the fields.
 */
static void default_signals(void)
{
    static const uint64_t plain[8];
    for (int number = 1; number <= 64; number++)
        syscall(SYS_rt_sigaction, number, plain, NULL, sizeof(uint64_t));
}

static _Noreturn void become_command(int in, int out, int err, int report)
{
    static struct identity who = {.home = "/"};
    sigset_t none;
    sigemptyset(&none);
    default_signals();
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    umask(022);

    if (!resolve(run.user, &who))
        give_up(report, STAGE_USER, ENOENT, run.user);
    /* Else a command of another user could not open /dev/stdout, which is its own pipe. */
    if (who.uid != 0 && (fchown(in, who.uid, who.gid) < 0 || fchown(out, who.uid, who.gid) < 0
                         || fchown(err, who.uid, who.gid) < 0))
        give_up(report, STAGE_USER, errno, run.user);
    if (setgroups(who.group_count, who.groups) < 0 || setgid(who.gid) < 0 || setuid(who.uid) < 0)
        give_up(report, STAGE_USER, errno, run.user);
    if (chdir(run.directory) < 0)
        give_up(report, STAGE_CHDIR, errno, run.directory);
    /* dup2 clears close-on-exec; nothing else survives the exec.  Our ends are all above 2. */
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0)
        give_up(report, STAGE_FORK, errno, run.argv[0]);
    execute_named(report, run.argv, with_home(run.envp, who.home));
}

/* ---- starting and ending a run --------------------------------------------------------- */

/* Take the next NUL-terminated string of the request. */
static char *next_string(char **at, const char *end)
{
    char *start = *at;
    char *stop = memchr(start, 0, (size_t)(end - start));
    if (!stop)
        die(EXIT_PROTOCOL, "a run request is cut off", 0);
    *at = stop + 1;
    return start;
}

static char **next_strings(uint32_t count, char **at, const char *end)
{
    if (count > (size_t)(end - *at))
        die(EXIT_PROTOCOL, "a run request counts more strings than it has", 0);
    char **strings = allocate((count + 1) * sizeof *strings);
    for (uint32_t i = 0; i < count; i++)
        strings[i] = next_string(at, end);
    strings[count] = NULL;
    return strings;
}

static void read_request(char *payload, size_t length)
{
    const size_t numbers = 5 * 4;
    if (length < numbers)
        die(EXIT_PROTOCOL, "a run request is too short", 0);
    uint32_t timeout_ms = get_u32(payload), argc = get_u32(payload + 12);
    char *at = payload + numbers;
    const char *end = payload + length;

    run = (struct run){.active = true, .request = payload, .in = -1, .out = -1, .err = -1,
                       .failure_pipe = -1, .terminate_at = NEVER, .kill_at = NEVER};
    run.grace_ms = get_u32(payload + 4);
    run.more_input = get_u32(payload + 8) & FLAG_MORE_INPUT;
    if (timeout_ms)
        run.terminate_at = now(CLOCK_MONOTONIC) + timeout_ms * MILLISECOND;
    run.directory = next_string(&at, end);
    run.user = next_string(&at, end);
    run.argv = next_strings(argc, &at, end);
    run.envp = next_strings(get_u32(payload + 16), &at, end);
    if (!argc)
        die(EXIT_PROTOCOL, "a run request without a command", 0);
    run.input = at;
    run.input_left = (size_t)(end - at);
    run.input_wanted = run.more_input && !run.input_left;
}

static void fail_to_start(int error)
{
    run.failure = (struct start_failure){.stage = STAGE_FORK, .error = error};
    strncpy(run.failure.path, run.argv[0], sizeof run.failure.path - 1);
    run.killing = run.all_dead = true;
    close_end(&run.in);
    close_end(&run.out);
    close_end(&run.err);
}

static void start(char *payload, size_t length)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1}, report[2] = {-1, -1};
    int error = 0;

    read_request(payload, length);
    run.started_ns = now(CLOCK_REALTIME);
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0
        || pipe2(report, O_CLOEXEC) < 0)
        error = errno;
    if (!error && (run.main = fork()) < 0) {
        error = errno;
        run.main = 0;
    }
    if (!error && run.main == 0)
        become_command(in[0], out[1], err[1], report[1]);
    close_end(&in[0]);
    close_end(&out[1]);
    close_end(&err[1]);
    close_end(&report[1]);
    run.in = in[1];
    run.out = out[0];
    run.err = err[0];
    run.failure_pipe = report[0];
    if (error) {
        fail_to_start(error);
        return;
    }
    /* Only our ends: the command gets ordinary blocking pipes. */
    fcntl(run.in, F_SETFL, O_NONBLOCK);
    fcntl(run.out, F_SETFL, O_NONBLOCK);
    fcntl(run.err, F_SETFL, O_NONBLOCK);
}

static void kill_everything(void)
{
    kill(-1, SIGKILL);               /* all but this process; ESRCH when there is nothing */
}

static void terminate(uint32_t grace_ms)
{
    if (run.killing)
        return;
    run.terminate_at = NEVER;
    if (grace_ms) {
        int64_t at = now(CLOCK_MONOTONIC) + grace_ms * MILLISECOND;
        if (at < run.kill_at)
            run.kill_at = at;
        kill(-1, SIGTERM);
        kill(-1, SIGCONT);           /* a stopped process acts on SIGTERM only when it goes on */
    } else {
        run.kill_at = NEVER;
        kill_everything();
    }
}

static void finish(void)
{
    /* The child wrote before it exited, and nobody holds the other end: this does not block. */
    struct start_failure failure;
    if (run.failure_pipe >= 0
        && read(run.failure_pipe, &failure, sizeof failure) == (ssize_t)sizeof failure)
        run.failure = failure;
    send_done();
    close_end(&run.in);
    close_end(&run.failure_pipe);
    free(run.argv);
    free(run.envp);
    free(run.request);
    free(run.input_buffer);
    run = (struct run){.in = -1, .out = -1, .err = -1, .failure_pipe = -1};
}

/* ---- events ---------------------------------------------------------------------------- */

static void handle_frame(uint8_t type, char *payload, size_t length)
{
    switch (type) {
    case 'R':
        if (run.active)
            die(EXIT_PROTOCOL, "a second run request while one runs", 0);
        start(payload, length);
        return;                      /* the run owns the payload now */
    case 'I':
        if (!run.active || run.in < 0)
            break;                   /* crossed with the end of the run, or nobody reads */
        if (!length) {
            run.more_input = false;
            close_end(&run.in);
            break;
        }
        if (run.input_left)
            die(EXIT_PROTOCOL, "input that was not asked for", 0);
        free(run.input_buffer);
        run.input_buffer = payload;
        run.input = payload;
        run.input_left = length;
        return;
    case 'C':
        if (length != 4)
            die(EXIT_PROTOCOL, "a malformed cancel request", 0);
        if (run.active) {
            run.cancelled = true;
            terminate(get_u32(payload));
        }
        break;
    default:
        die(EXIT_PROTOCOL, "a request of unknown type", 0);
    }
    free(payload);
}

static ssize_t receive(void *to, size_t length)
{
    ssize_t n = recv(connection, to, length, 0);
    if (n == 0)
        die(0, "the runner is gone", 0);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        die(EXIT_CONNECT, "the runner is gone", errno);
    return n;
}

static void read_requests(void)
{
    for (;;) {
        struct incoming *in = &incoming;
        ssize_t n = 0;
        if (in->have < HEADER_BYTES)
            n = receive(in->header + in->have, HEADER_BYTES - in->have);
        else if (in->have - HEADER_BYTES < in->length)
            n = receive(in->payload + (in->have - HEADER_BYTES),
                        in->length - (in->have - HEADER_BYTES));
        if (n < 0)
            return;
        in->have += (size_t)n;
        if (in->have == HEADER_BYTES && !in->payload) {
            in->length = get_u32(in->header + 1);
            if (in->length > REQUEST_BYTES)
                die(EXIT_PROTOCOL, "a request is too long", 0);
            in->payload = allocate(in->length + 1);
        }
        if (in->have >= HEADER_BYTES && in->have - HEADER_BYTES == in->length) {
            struct incoming whole = *in;
            *in = (struct incoming){0};
            handle_frame(whole.header[0], whole.payload, whole.length);
        }
    }
}

/* Reap whatever ended: the command, what it left behind, and orphans of `podman exec`. */
static void reap(void)
{
    struct signalfd_siginfo info;
    while (read(child_signal, &info, sizeof info) > 0)
        ;                            /* one signal may stand for many children */
    for (;;) {
        struct rusage used;
        int status;
        pid_t pid = wait4(-1, &status, WNOHANG, &used);
        if (pid < 0) {               /* ECHILD: nobody is left */
            run.all_dead = run.killing;
            return;
        }
        if (pid == 0) {              /* some still live */
            if (run.killing)
                kill_everything();   /* someone may have come in by `podman exec` since */
            return;
        }
        run.user_us += used.ru_utime.tv_sec * 1000000LL + used.ru_utime.tv_usec;
        run.system_us += used.ru_stime.tv_sec * 1000000LL + used.ru_stime.tv_usec;
        if (used.ru_maxrss * 1024LL > run.max_rss)
            run.max_rss = used.ru_maxrss * 1024LL;
        if (run.active && pid == run.main) {
            run.main = 0;
            run.status = status;
            run.killing = true;
            run.terminate_at = run.kill_at = NEVER;
            kill_everything();
        }
    }
}

static void forward(int *end, uint8_t type)
{
    if (*end < 0 || outgoing.length)
        return;
    ssize_t n = read(*end, outgoing.frame + HEADER_BYTES, OUTPUT_BYTES);
    if (n > 0)
        send_frame(type, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        close_end(end);
}

static void feed_input(void)
{
    while (run.in >= 0 && run.input_left) {
        ssize_t n = write(run.in, run.input, run.input_left);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EAGAIN)
                return;
            close_end(&run.in);      /* EPIPE: the command does not read its input; its right */
            return;
        }
        run.input += n;
        run.input_left -= (size_t)n;
        run.input_wanted = run.more_input && !run.input_left;
    }
    if (!run.input_left && !run.more_input)
        close_end(&run.in);
}

static void advance_run(void)
{
    int64_t time = now(CLOCK_MONOTONIC);
    if (time >= run.terminate_at) {
        run.timed_out = true;
        terminate(run.grace_ms);
    }
    if (time >= run.kill_at) {
        run.kill_at = NEVER;
        kill_everything();
    }
    if (run.all_dead)
        close_end(&run.in);
    else
        feed_input();
    if (run.input_wanted && run.in >= 0 && !outgoing.length) {
        run.input_wanted = false;
        send_frame('W', 0);
    }
    forward(&run.out, 'O');
    forward(&run.err, 'E');
    if (run.all_dead && run.out < 0 && run.err < 0 && !outgoing.length)
        finish();
}

static int poll_timeout(void)
{
    int64_t at = run.terminate_at < run.kill_at ? run.terminate_at : run.kill_at;
    if (!run.active || at == NEVER)
        return -1;
    int64_t left = (at - now(CLOCK_MONOTONIC) + MILLISECOND - 1) / MILLISECOND;
    return left < 0 ? 0 : left > 3600000 ? 3600000 : (int)left;
}

static _Noreturn void serve(void)
{
    for (;;) {
        bool room = run.active && !outgoing.length;
        struct pollfd waits[] = {
            {.fd = connection, .events = (short)(POLLIN | (outgoing.length ? POLLOUT : 0))},
            {.fd = child_signal, .events = POLLIN},
            /* fd -1 is skipped: a pipe we do not want now must not wake us by its end either. */
            {.fd = room ? run.out : -1, .events = POLLIN},
            {.fd = room ? run.err : -1, .events = POLLIN},
            {.fd = run.active && run.input_left ? run.in : -1, .events = POLLOUT},
        };
        if (poll(waits, sizeof waits / sizeof waits[0], poll_timeout()) < 0 && errno != EINTR)
            die(EXIT_PROTOCOL, "poll", errno);
        flush_output();
        if (waits[0].revents & (POLLIN | POLLHUP | POLLERR))
            read_requests();
        if (waits[1].revents)
            reap();
        if (run.active)
            advance_run();
    }
}

/* ---- beginning ------------------------------------------------------------------------- */

static void connect_to_runner(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        die(EXIT_USAGE, "the socket path is too long", ENAMETOOLONG);
    strcpy(address.sun_path, path);
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof address) < 0)
        die(EXIT_CONNECT, "cannot reach the runner", errno);
    if (fcntl(connection, F_SETFL, O_NONBLOCK) < 0)
        die(EXIT_CONNECT, "fcntl", errno);
}

static void prepare_descriptors(void)
{
    /* The pipes of a run must not land on 0, 1 or 2, so these must be taken. */
    int null;
    while ((null = open("/dev/null", O_RDWR)) >= 0 && null <= STDERR_FILENO)
        ;
    if (null > STDERR_FILENO)
        close(null);
    syscall(SYS_close_range, 3u, ~0u, 0u);
}

static void watch_children(void)
{
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    signal(SIGPIPE, SIG_IGN);
    child_signal = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    if (child_signal < 0)
        die(EXIT_PROTOCOL, "signalfd", errno);
}

static void watch_memory(void)
{
    memory_events = open("/sys/fs/cgroup/memory.events", O_RDONLY | O_CLOEXEC);       /* v2 */
    if (memory_events < 0)
        memory_events = open("/sys/fs/cgroup/memory/memory.oom_control", O_RDONLY | O_CLOEXEC);
    ran_out_of_memory();
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--check") == 0)
        return 0;
    if (argc != 2)
        die(EXIT_USAGE, "usage: pfs-shim SOCKET | --check", 0);
    /* kill(-1) outside of a container would end every process of the machine. */
    if (getpid() != 1)
        die(EXIT_USAGE, "this must be PID 1 of a container", 0);
    prepare_descriptors();
    prctl(PR_SET_DUMPABLE, 0);       /* the command cannot trace us or look into our memory */
    watch_children();
    watch_memory();
    connect_to_runner(argv[1]);
    send_hello();
    serve();
}
