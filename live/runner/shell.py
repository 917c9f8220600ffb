"""The shell: what the pages use of it."""

import glob
import io
import os
import re
import shutil
import subprocess

from runner import programs
from runner.mends import NotHere
from runner.process import ENVIRONMENT

WORD = r"""(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|\$\([^()]*\)|[^\s;&|<>'"\\])+"""
TOKEN = re.compile(rf"\s*?(\n|;|&&|&|\|\||\||2>&1|2>|>>|>|<<\d+|<|{WORD})", re.DOTALL)
PART = re.compile(r"""\\(.)|'([^']*)'|"((?:\\.|[^"\\])*)"|([^'"\\]+)""", re.DOTALL)
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+|\?)|\(([^()]*)\))")
LOOP = re.compile(r"for (\w+) in ([^;\n]*)[;\n]\s*do\s(.*?)\bdone\b", re.DOTALL)
HERE = re.compile(r"<<\s*('?)(\w+)'?(.*?)\n(.*?)\n\2(?=\n|\Z)", re.DOTALL)

#: The options that each command has here.
OPTIONS = {
    "cp": "-r",
    "grep": "-[Eqv]",
    "mkdir": "-p",
    "mv": "-f",
    "rm": "-r|-f|-rf",
    "sed": "-i.*",
    "sh": "-c",
    "tail": r"-n\d*|-\d+",
}


class Shell:
    """Runs a command line: variables, quotes, pipes, redirection, ``for`` and here-documents."""

    def __init__(self, folder, out, variables, err=None):
        self.folder, self.out, self.err, self.variables = folder, out, err, variables
        self.status = int(variables.get("?", 0))

    def run(self, script):
        texts = []

        def keep(match):
            text = f"{match[4]}\n"
            texts.append(text if match[1] else self.expand(text))
            return f"<<{len(texts) - 1}{match[3]}"

        script = HERE.sub(keep, script.replace("\\\n", ""))
        while (loop := LOOP.search(script)) is not None:
            self.run_simple(script[: loop.start()], texts)
            for word in self.words(re.findall(WORD, loop[2])):
                self.variables[loop[1]] = word
                self.run_simple(loop[3], texts)
            script = script[loop.end() :]
        self.run_simple(script, texts)
        return self.status

    def expand(self, text):
        def value(match):
            if match[3] is None:
                name = match[1] or match[2]
                return self.variables.get(name, ENVIRONMENT.get(name, ""))
            inner = Shell(self.folder, io.StringIO(), self.variables, self.err)
            inner.run(match[3])
            return inner.out.getvalue().rstrip("\n")

        return VARIABLE.sub(value, text)

    def words(self, raw):
        for word in raw:
            text = ""
            for escaped, single, double, bare in PART.findall(word):
                double = re.sub(r"\\([\\\"$`])", r"\1", self.expand(double))
                text += escaped or single or double or self.expand(bare)
            quoted = re.search("['\"]", word)
            if text.startswith("~/"):
                text = ENVIRONMENT["HOME"] + text[1:]
            if not quoted and re.search(r"[*?]", text):
                yield from sorted(glob.glob(text, root_dir=self.folder)) or [text]
            elif not quoted and "$" in word:
                yield from text.split()
            else:
                yield text

    def run_simple(self, script, texts):
        words, given, files = [], "", {}
        tokens = iter([*TOKEN.findall(script.strip()), "\n"])
        for token in tokens:
            if token in ("\n", ";", "|", "&&"):
                out = io.StringIO() if token == "|" else self.out
                if words:
                    self.run_command([*self.words(words)], out, given, files)
                given = out.getvalue() if token == "|" else ""
                words, files = [], {}
                if token == "&&" and self.status:
                    return
            elif token == "&":
                raise NotHere("it starts a process that runs beside others")
            elif token == "||":
                raise NotHere("this small shell has no ||")
            elif token.startswith("<<"):
                given = texts[int(token[2:])]
            elif token == "<":
                given = read(next(self.words([next(tokens)])))
            elif token in (">", ">>", "2>"):
                files[token] = next(self.words([next(tokens)]))
            elif token == "2>&1":
                files[token] = True
            else:
                words.append(token)

    def run_command(self, words, out, given, files):
        own = {}
        while words and (match := re.match(r"(\w+)=(.*)", words[0], re.DOTALL)):
            own[match[1]] = match[2]
            words.pop(0)
        if not words:
            self.variables |= own
            return
        target = files.get(">") or files.get(">>")
        err = self.err or out
        if target:
            out = io.StringIO()
            err = out if "2>&1" in files else err
        if "2>" in files:
            err = io.StringIO()
        os.chdir(self.folder)
        try:
            self.status = self.start(words, out, err, ENVIRONMENT | own, given)
            if target:
                with open(target, "w" if ">" in files else "a") as file:
                    file.write(out.getvalue())
            if "2>" in files:
                with open(files["2>"], "w") as file:
                    file.write(err.getvalue())
        except OSError as error:
            print(f"{words[0]}: {error.filename}: {error.strerror}", file=err)
            self.status = 1

    def start(self, words, out, err, environment, given=""):
        """Run a command or a program. Return its exit status."""
        if command := getattr(self, f"do_{words[0]}", None):
            options = [word for word in words[1:] if word.startswith("-")]
            others = [word for word in words[1:] if not word.startswith("-")]
            for option in options:
                if not re.fullmatch(OPTIONS.get(words[0], ""), option):
                    raise NotHere(f"this small shell's {words[0]} has no option {option}")
            return command(others, options, out, given) or 0
        return programs.run(self.folder, words, out, err, environment, given)

    def do_sh(self, words, options, out, given):
        return Shell(self.folder, out, {}, self.err).run(words[0])

    def do_echo(self, words, options, out, given):
        print(*words, file=out)

    def do_cat(self, words, options, out, given):
        out.write("".join(map(read, words)) or given)

    def do_ls(self, words, options, out, given):
        for word in words or ["."]:
            names = os.listdir(word) if not os.path.isfile(word) else [word]
            print(*sorted(name for name in names if name[0] != "."), sep="\n", file=out)

    def do_cp(self, words, options, out, given):
        *sources, target = words
        for source in sources:
            if os.path.isdir(source):
                inner = os.path.join(target, os.path.basename(source))
                copy_folder(source, inner if os.path.isdir(target) else target)
            else:
                shutil.copy(source, target)

    def do_mv(self, words, options, out, given):
        *sources, target = words
        for source in sources:
            if os.path.isfile(target):
                os.remove(target)
            shutil.move(source, target)

    def do_rm(self, words, options, out, given):
        for word in words:
            if os.path.isdir(word) and options and "r" in options[0]:
                shutil.rmtree(word)
            elif os.path.exists(word) or not options:
                os.remove(word)

    def do_mkdir(self, words, options, out, given):
        for word in words:
            os.makedirs(word, exist_ok="-p" in options)

    def do_rmdir(self, words, options, out, given):
        for word in words:
            os.rmdir(word)

    def do_touch(self, words, options, out, given):
        for word in words:
            open(word, "a").close()

    def do_chmod(self, words, options, out, given):
        mode, *files = words
        if mode != "u+w":
            raise NotHere("it needs the permissions of files")
        for file in files:
            os.chmod(file, os.stat(file).st_mode | 0o200)

    def do_grep(self, words, options, out, given):
        pattern, *files = words
        if "-E" not in options:
            pattern = re.sub(r"([|+?(){}])", r"\\\1", pattern)
        text = "".join(map(read, files)) or given
        without = "-v" in options
        lines = [line for line in text.splitlines() if bool(re.search(pattern, line)) != without]
        if lines and "-q" not in options:
            print(*lines, sep="\n", file=out)
        return not lines

    def do_tail(self, words, options, out, given):
        count = int(options[0].removeprefix("-n").removeprefix("-") or words.pop(0))
        lines = ("".join(map(read, words)) or given).splitlines(keepends=True)
        out.write("".join(lines[-count:]))

    def do_sed(self, words, options, out, given):
        script, *files = words
        _, pattern, new, _ = re.split(r"(?<!\\)" + re.escape(script[1]), script)
        pattern = re.sub(r"([|+?(){}])", r"\\\1", pattern)
        for file in files:
            lines = read(file).splitlines(keepends=True)
            shutil.copy(file, file + options[0].removeprefix("-i"))
            with open(file, "w") as changed:
                changed.write(
                    "".join(re.sub(pattern, lambda _: new, line, count=1) for line in lines)
                )


def run_command(args, stdout=None, stderr=None, env=None, check=False, **options):
    """Take the place of `subprocess.run`, which waits for the end of the command."""
    if "user" in options:
        raise NotHere("it runs a command as another user")
    out, err = io.StringIO(), io.StringIO()
    words = args if isinstance(args, list) else ["sh", "-c", args]
    errors = out if stderr == subprocess.STDOUT else err
    environment = env or dict(os.environ)
    status = Shell(os.getcwd(), out, {}, errors).start(words, out, errors, environment)
    capture, text = options.get("capture_output"), options.get("text")
    kept = [
        (said.getvalue() if text else said.getvalue().encode())
        if capture or wanted == subprocess.PIPE
        else None
        for said, wanted in ((out, stdout), (err, stderr))
    ]
    if check and status:
        raise subprocess.CalledProcessError(status, args, *kept)
    return subprocess.CompletedProcess(args, status, *kept)


def read(path, default=None):
    if default is not None and not os.path.exists(path):
        return default
    with open(path) as file:
        return file.read()


def copy_folder(source, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
