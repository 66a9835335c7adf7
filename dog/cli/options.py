"""Options that several commands have: those made from the settings, which judge what is in them, and seconds."""

import math

import click

from dog.settings import Setting

__all__ = ["SECONDS", "SettingOption", "SettingsCommand"]


class SettingOption(click.Option):
    """One setting as an option: plain text to click."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        about = setting.about
        super().__init__(
            [setting.flag],
            metavar=about.metavar,
            help=f"{about.meaning} Write {about.right}. [{setting.variable}; default: {setting.default}]",
        )


class SettingsCommand(click.Command):
    """A command whose options are all settings, which the help shows in their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                group = param.setting.about.group if isinstance(param, SettingOption) else "Help"
                groups.setdefault(group, []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)


class _Seconds(click.ParamType[float]):
    """A time that a clock can show: 0 or more."""

    name = "seconds"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(str(value))
        except ValueError:
            seconds = math.nan
        if not (math.isfinite(seconds) and seconds >= 0):
            self.fail(f"{value!r} is no number of seconds, 0 or more.", param, ctx)
        return seconds


SECONDS = _Seconds()
