"""What a recogniser understands of the built-in narrator, and how long speaking takes against how long the speech is.

    python benchmarks/narrator.py [--threads 1] [--out eval.json]

The texts below were written for this purpose, but for four old poems: plain sentences, and such as are full of figures. Each is spoken by
the voice of its language and heard by Whisper base (`ears`). Figures are shares of wrong syllables (toneless pinyin) or words, with their
95 % intervals. Time is the processor's and the clock's, both over the seconds of speech, with the load of the machine while it ran.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import miaobi
from miaobi.core.artifact import write_text
from miaobi.engine.metrics import Evidence, Sample
from miaobi.engine.metrics.recognition import pinyin_error, word_error

CHINESE = """今天的天气非常好，我们一起去公园散步吧。
人工智能正在改变我们的生活和工作方式。
请把窗户打开，让新鲜的空气进来。
这家餐厅的菜很好吃，价格也不贵。
他每天早上六点起床，跑步半个小时。
图书馆里非常安静，大家都在认真地看书。
如果明天下雨，我们就待在家里看电影。
妈妈正在厨房里做饭，爸爸在客厅看报纸。
学习一门外语需要耐心和长时间的练习。
火车已经到站了，请乘客们拿好自己的行李。
秋天来了，树上的叶子慢慢变成了金黄色。
这条河从北方的高山流向南方的大海。
科学家发现了一种新的材料，比钢铁更坚硬。
孩子们在操场上踢足球，笑声传得很远。
昨天晚上我做了一个奇怪的梦。
老师说，只要努力，就一定会有进步。""".splitlines()
CHINESE_FIGURES = """会议定在2024年3月5日下午2:30开始。
这件衣服原价399元，现在打八折，便宜了20%。
今天最高气温是28℃，最低气温是-3℃。
他身高1.82米，体重75kg，跑得很快。
这座城市有1200万人口，面积是16410平方千米。
大约3/4的学生完成了第2个作业。""".splitlines()
POEMS = """床前明月光，疑是地上霜。举头望明月，低头思故乡。
白日依山尽，黄河入海流。欲穷千里目，更上一层楼。
春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。
空山不见人，但闻人语响。返景入深林，复照青苔上。""".splitlines()
ENGLISH = """The quick brown fox jumps over the lazy dog.
She opened the window to let in some fresh air.
We will meet at the station tomorrow morning.
A gentle rain fell over the harbour all night long.
The library was so quiet that you could hear a pin drop.
Scientists have discovered a new material that is stronger than steel.
My brother is learning to play the piano, and he practises every day.
If you want to see the sunrise, you have to get up early.
The children laughed when the little dog chased its own tail.
He read the letter twice before he put it back into the drawer.
Artificial intelligence is changing the way we live and work.
They walked slowly along the river and talked about the old days.
Please turn off the lights when you leave the room.
The museum is closed on Mondays, but the garden is always open.""".splitlines()
ENGLISH_FIGURES = """The meeting starts at 2:30 pm on March 5, 2024.
It costs $3.50, which is 20% less than last year.
The temperature dropped to -3°C during the night.
Dr. Smith weighs 75 kg and runs 12 km every day.
About 3/4 of the 1,200 students passed the 2nd exam.
The population grew from 1.5 million in 1990 to 2.3 million in 2020.""".splitlines()
SETS = {
    "pinyin_error": CHINESE,
    "pinyin_error_figures": CHINESE_FIGURES,
    "pinyin_error_poems": POEMS,
    "word_error": ENGLISH,
    "word_error_figures": ENGLISH_FIGURES,
}


def main() -> None:
    """Measure, print, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    narrator = miaobi.load("narrator", threads=arguments.threads)
    narrator.generate("好。Good.", seed=0)  # dictionaries are read before the clock runs
    figures: dict[str, Any] = {}
    examples: list[dict[str, str]] = []
    spoken = wall = processor = 0.0
    for name, texts in SETS.items():
        samples = []
        for text in texts:
            clock, cpu = time.perf_counter(), time.process_time()
            [content] = narrator.generate(text, seed=0)
            wall, processor = wall + time.perf_counter() - clock, processor + time.process_time() - cpu
            spoken += content.label.notes["seconds"]
            samples.append(Sample(content=content))
        metric = pinyin_error if name.startswith("pinyin") else word_error
        [(_, figure)] = metric.figures(Evidence(samples={"": samples})).items()
        figures[name] = figure.to_dict()
        examples.append({"prompt": texts[0], "voice": samples[0].content.label.notes["voice"]})
        print(f"{name:24}{figure.value:8.2%}  of {len(texts)} texts", flush=True)
    load = os.getloadavg()[1]
    note = f"{arguments.threads} thread; by the clock {wall / spoken:.2f} at a load of {load:.1f}"
    unit = "processor seconds a second of speech"
    count = sum(map(len, SETS.values()))
    figures["real_time_factor"] = {"value": round(processor / spoken, 3), "count": count, "unit": unit, "better": "lower", "note": note}
    print(json.dumps(figures["real_time_factor"]))
    if arguments.out:
        model = {"name": "narrator", "source": narrator.artifact.sha256}
        value = {"schema": "miaobi.eval/1", "model": model, "software": f"miaobi {miaobi.__version__}", "figures": figures}
        value |= {"recogniser": "ears", "seconds": {"speech": round(spoken, 1)}, "examples": examples}
        write_text(arguments.out, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


if __name__ == "__main__":
    main()
