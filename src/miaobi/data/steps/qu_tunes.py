"""Names of qu tunes (曲牌), to part a title such as 双调・沉醉东风隐居 into its tune and its title.

Gathered from the titles of the 11,057 songs of the chinese-poetry collection: names that stand alone behind a play's name at least three
times, without the modes (宫调), the repeats (前腔, 幺篇) and the codas (尾声, 煞).
"""

from __future__ import annotations

_MODES = "双调 中吕 南吕 越调 仙吕 正宫 商调 黄钟 大石调 般涉调 小石调 商角调 高平调 双角调 不知宫调"
_REPEATS = "前腔 前腔换头 同前 同前换头 幺篇 幺 换头"
_NAMES = """
滚绣球 倘秀才 点绛唇 天下乐 混江龙 新水令 油葫芦 雁儿落 金盏儿 后庭花 醉春风 端正好 耍孩儿 梁州第七 梁州 寄生草
得胜令 粉蝶儿 赏花时 上小楼 鹊踏枝 斗鹌鹑 那吒令 哪吒令 牧羊关 乔牌儿 驻马听 一枝花 迎仙客 红绣鞋 紫花儿序 紫花儿
川拨棹 太平令 沽美酒 圣药王 折桂令 沉醉东风 沈醉东风 水仙子 古水仙子 石榴花 十二月 尧民歌 调笑令 醉中天 秃厮儿 收江南
甜水令 梅花酒 脱布衫 快活三 满庭芳 小桃红 七弟兄 七兄弟 柳叶儿 普天乐 采茶歌 元和令 醉扶归 骂玉郎 感皇恩 醋葫芦
青哥儿 青歌儿 小梁州 落梅风 落梅花 呆骨朵 叨叨令 贺新郎 金菊香 金蕉叶 殿前欢 醉太平 胜葫芦 逍遥乐 上马娇 鬼三台
乌夜啼 挂玉钩 步步娇 清江引 出队子 梧叶儿 村里迓鼓 哭皇天 鲍老儿 络丝娘 集贤宾 朝天子 风入松 搅筝琶 庆宣和 锦上花
拨不断 天净沙 白鹤子 夜行船 麻郎儿 伴读书 红芍药 游四门 归塞北 庆东原 乔木查 刮地风 菩萨梁州 六幺序 六幺遍 四门子
剔银灯 喜迁莺 笑和尚 喜江南 胡十八 喜春来 阳春曲 寨儿令 古寨儿令 双雁儿 四块玉 一半儿 哨遍 醉花阴 醉高歌 碧玉箫
东原乐 叫声 挂金索 八声甘州 拙鲁速 蟾宫曲 天仙子 天仙令 塞鸿秋 耍三台 雪里梅 好观音 江儿水 豆叶黄 四边静 蔓菁菜
货郎儿 绵搭絮 侧砖儿 寿阳曲 山石榴 山坡羊 梧桐树 净瓶儿 神仗儿 石竹子 相公爱 一锭银 风流体 穷河西 斗虾蟆 絮虾蟆
金字经 滴滴金 河西后庭花 忆王孙 竹枝歌 节节高 东瓯令 不拜门 忽都白 唐兀歹 贺圣朝 太清歌 醉娘子 凤鸾吟 柳青娘 五供养
凭栏人 人月圆 六国朝 踏莎行 应天长 憨郭郎 怨别离 擂鼓体 锁南枝 临江仙 菊花新 桂枝香 红衲袄 鹧鸪天 园林好 好姐姐
生查子 玉交枝 一封书 忆多娇 似娘儿 水底鱼 哭相思 扑灯蛾 胡捣练 蛮牌令 香柳娘 缕缕金 孝顺歌 黄莺儿 卜算子 金钱花
破阵子 紫苏丸 西地锦 满江红 挂真儿 浆水令 风马儿 五更转 双劝酒 玩仙灯 啄木儿 三段子 望远行 七娘子 麻婆子 懒画眉
侥侥令 鲍老催 滴溜子 高阳台 排歌 解三酲 红衫儿 大圣乐 朱奴儿 吴小四 金珑璁 下山虎 降黄龙 行香子 雁过沙 忒忒令 宜春令
锦缠道 念佛子
"""
MODES, REPEATS = frozenset(_MODES.split()), frozenset(_REPEATS.split())
TUNES = tuple(sorted(_NAMES.split(), key=len, reverse=True))  # the longest name wins: 古水仙子 before 水仙子
_TUNE_SET = frozenset(TUNES)


def qu_tune(title: str) -> tuple[str, str]:
    """The title and the tune in a title of qu; the tune is "" when the title does not name a known one.

    >>> qu_tune("双调・沉醉东风隐居"), qu_tune("诈妮子调风月・仙吕/点绛唇"), qu_tune("四块玉・自送别，心难舍")
    (('隐居', '沉醉东风'), ('诈妮子调风月', '点绛唇'), ('四块玉', '四块玉'))
    """
    head, dot, tail = title.partition("・")
    if not dot:
        return title, title if title in _TUNE_SET else ""
    head, tail = head.rpartition("/")[2].strip(), tail.rpartition("/")[2].strip()
    if head in MODES:
        tune = next((name for name in TUNES if tail.startswith(name)), "")
        return tail[len(tune) :].strip() or tune, tune
    if head in _TUNE_SET:  # 梁州・我是个普天下郎君领袖: the rest is the first line
        return head, head
    if head in REPEATS:
        return "", ""
    return head, tail if tail in _TUNE_SET else ""
