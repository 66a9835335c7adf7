"""D.O.G.: a realtime camera service. One person takes a photo, and every viewer sees it at once."""

__version__ = "0.1.0"


def setup_tools_main() -> None:
    """Run the command `dog`, if the script of PyPI's package `dog`, another project, replaced ours."""
    from dog_camera import main

    main()
